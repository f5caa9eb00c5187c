"""Files of one recording as a hospital delivers them: EDF+, MP4, sometimes a hypnogram."""

from pathlib import Path

import edfio
import numpy as np

from input_pipeline.files import whole_file, whole_folder, write_csv
from input_pipeline.night import Night
from input_pipeline.simulation.eeg import CHANNELS
from input_pipeline.simulation.psg import Channel, simulate_psg
from input_pipeline.simulation.recording import Recording, hidden_signals, truth
from input_pipeline.simulation.respiration import KINDS
from input_pipeline.simulation.settings import SimulationSettings
from input_pipeline.simulation.video import write_mp4
from input_pipeline.stages import CLIP_SECONDS, STAGES

_PSG, _VIDEO = "psg.edf", "video.mp4"
_HYPNOGRAM = {"annotations": None, "edf": "hypnogram.edf", "csv": "hypnogram.csv"}


def truth_path(folder: Path, night_id: str) -> Path:
    """Path of a recording's hidden truth, given the folder of the nights."""
    return folder / "truth" / f"{night_id}.npz"


def describe(recording: Recording, folder: Path) -> Night:
    """The manifest's row of a recording whose files lie in `folder / night_id`."""
    home, subject, clocks = folder / recording.night_id, recording.subject, recording.clocks
    hypnogram = _HYPNOGRAM[recording.hypnogram_form]
    return Night(
        night_id=recording.night_id,
        subject_id=subject.subject_id,
        video=home / _VIDEO,
        psg=home / _PSG,
        hypnogram=home / hypnogram if hypnogram else None,
        psg_channel=CHANNELS[0],
        ahi=recording.ahi,
        age=subject.age,
        sex=subject.sex,
        video_start=clocks.video_start,
        sync_offset_s=clocks.sync_offset_s,
        sync_drift_ppm=clocks.sync_drift_ppm,
    )


def write_recording(settings: SimulationSettings, recording: Recording, folder: Path) -> None:
    """Simulates and writes a recording; the folder of its files appears last, and complete."""
    if is_written(recording, folder):
        return
    hidden = hidden_signals(settings, recording)
    with whole_file(truth_path(folder, recording.night_id)) as path:
        np.savez_compressed(path, **truth(settings, recording, hidden))
    with whole_folder(folder / recording.night_id) as home:
        _write_psg(home / _PSG, recording, simulate_psg(settings, recording, hidden))
        _write_hypnogram(home, recording)
        write_mp4(home / _VIDEO, settings, recording, hidden)


def is_written(recording: Recording, folder: Path) -> bool:
    """Whether an earlier run finished this recording."""
    return (folder / recording.night_id).is_dir()


def _write_psg(path: Path, recording: Recording, channels: list[Channel]) -> None:
    signals = [
        edfio.EdfSignal(
            np.clip(channel.samples, -channel.limit, channel.limit),
            channel.rate,
            label=channel.label,
            physical_dimension=channel.unit,
            physical_range=(-channel.limit, channel.limit),
        )
        for channel in channels
    ]
    annotations = [
        edfio.EdfAnnotation(round(event.onset, 2), round(event.duration, 2), KINDS[event.kind])
        for event in recording.events
        if event.onset >= 0 and event.end <= recording.seconds
    ]
    if recording.hypnogram_form == "annotations":
        annotations += _stage_annotations(recording.scored)
    _edf(recording, signals, annotations).write(path)


def _edf(
    recording: Recording,
    signals: list[edfio.EdfSignal],
    annotations: list[edfio.EdfAnnotation],
) -> edfio.Edf:
    start = recording.clocks.psg_start
    return edfio.Edf(
        signals,
        patient=edfio.Patient(code=recording.subject.subject_id, sex=recording.subject.sex),
        recording=edfio.Recording(startdate=start.date(), equipment_code="simulated"),
        starttime=start.time(),
        annotations=annotations,
    )


def _stage_annotations(stages: np.ndarray, runs: bool = False) -> list[edfio.EdfAnnotation]:
    """One annotation per clip, or one per run of equal stages."""
    first = np.arange(len(stages))
    if runs:
        first = np.concatenate([[0], np.flatnonzero(np.diff(stages)) + 1])
    last = np.concatenate([first[1:], [len(stages)]])
    words = ["R" if stage == "REM" else stage for stage in STAGES]
    return [
        edfio.EdfAnnotation(a * CLIP_SECONDS, (b - a) * CLIP_SECONDS, f"Sleep stage {words[k]}")
        for a, b, k in zip(first, last, stages[first], strict=True)
    ]


def _write_hypnogram(home: Path, recording: Recording) -> None:
    name = _HYPNOGRAM[recording.hypnogram_form]
    if name == "hypnogram.edf":
        _edf(recording, [], _stage_annotations(recording.scored, runs=True)).write(home / name)
    elif name == "hypnogram.csv":
        rows = [
            [clip * CLIP_SECONDS, CLIP_SECONDS, STAGES[stage]]
            for clip, stage in enumerate(recording.scored)
        ]
        write_csv(home / name, ["onset", "duration", "stage"], rows)
