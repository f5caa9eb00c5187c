"""Recordings and tables of a hospital, with a patient in every field, and their readers."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.night import Night, parse_manifest
from input_pipeline.readers.edf import read_annotations, read_signal, resample
from input_pipeline.readers.hypnogram import read_hypnogram
from input_pipeline.readers.hypnogram.grid import TOLERANCE_S
from input_pipeline.readers.video import VideoReader
from tests.input_pipeline.made_edf import Channel, Recording, ramp
from tests.input_pipeline.recordings import steady, write_video
from tests.torture.fuzz import Target
from tests.torture.planted import WORDS

NAME, SURNAME, STREET, ISO_DATE, DATE, EDF_DATE, PATIENT_ID, PHONE = WORDS


def planted_recording(kind: str = "EDF+C", stages: Sequence[str] = ()) -> Recording:
    """30 s a record; a patient in every field that has room for one."""
    records = max(len(stages), 4)
    lists = [f"+{30 * k}\x1530\x14Sleep stage {stage}\x14\0" for k, stage in enumerate(stages)]
    lists = lists or [f"+1\x14{NAME} {SURNAME} wakes\x14\0"]
    return Recording(
        [
            ramp("EEG C3-A2", records * 960),
            Channel(f"{STREET} 5", np.zeros(records * 30, int), DATE[:8]),
        ],
        records,
        30,
        kind,
        [f"+{30 * k + (k > 2) * 90 * kind.endswith('D')}" for k in range(records)],
        [text.encode() for text in lists],
        patient=f"{PATIENT_ID} F {EDF_DATE} {NAME}_{SURNAME}",
        recording=f"Startdate 31-JAN-2024 {PATIENT_ID} {SURNAME} X",
        prefilter=f"{STREET} 5, {PHONE}",
    )


STAGES = ["W", "N1", "N2", "N3", "R", "?", "W", "N2", "N2", "W"]


def _make_edf(folder: Path) -> Sequence[Path]:
    made = {}
    for kind in ("EDF", "EDF+C", "EDF+D", "BDF+C", "BDF+D"):
        made[f"{kind}.edf"] = planted_recording(kind).bytes()
    made["apart.edf"] = replace(
        planted_recording(), channels=[ramp("C3-REF", 3840), ramp("A2-REF", 3840, unit="mV")]
    ).bytes()
    return write_all(folder, made)


def _read_edf(path: Path) -> tuple[Sequence[str], Any]:
    said: list[str] = []
    for channel in ("", f"{NAME}|C3-A2"):
        try:
            signal = read_signal(path, channel, name="n")
            said += [*signal.notes, signal.channel]
            resample(signal, 125.0, name="n")
        except UserError as error:
            said.append(str(error))
    annotations = read_annotations(path, name="n")
    return [*said, *annotations.notes], None


def _make_hypnograms(folder: Path) -> Sequence[Path]:
    (folder / "psg.edf").write_bytes(planted_recording(stages=["W"] * 12).bytes())
    clock = [f"{22 + k // 120:02d}:{k // 2 % 60:02d}:{k % 2 * 30:02d}" for k in range(10)]
    spans = list(enumerate(STAGES))
    head = f"# {NAME} {SURNAME}, born {DATE}, {STREET}\n"
    texts = {
        "lines.txt": "\n".join(STAGES),
        "comma.txt": ",".join(STAGES),
        "numbers.txt": "\n".join("0123401230"),
        "spans.csv": "onset,duration,stage\n" + "".join(f"{30 * k},30,{s}\n" for k, s in spans),
        "clock.csv": head
        + "Epoch;Time;Stage\n"
        + "".join(f"{k + 1};{clock[k]};{s}\n" for k, s in spans),
        "events.tsv": "onset\tduration\ttrial_type\n"
        + "".join(f"{30 * k}\t30\t{s}\n" for k, s in spans),
        "wfdb.txt": "      Elapsed time  Sample #  Type  Sub Chan  Num\tAux\n"
        + '[22:00:00.000]  0  "  0  0  0\t## time resolution: 100\n'
        + "".join(
            f'[22:{k:02d}:00.000]  {3000 * k}  "  0  0  0\tSleep_stage_{s} duration: 30\n'
            for k, s in spans
        ),
        "profusion.xml": "<CMPStudyConfig><EpochLength>30</EpochLength><SleepStages>"
        + "".join(f"<SleepStage>{k % 6}</SleepStage>" for k in range(10))
        + f"</SleepStages><Patient>{NAME} {SURNAME} {DATE}</Patient></CMPStudyConfig>",
        "yasa.json": json.dumps(
            {
                "values": ["WAKE", "N1", "N2", "N3", "REM", "WAKE", "N2", "ART", "UNS", "WAKE"],
                "start": "2024-01-31T22:15:03",
                "scorer": f"{NAME} {SURNAME}, {ISO_DATE}",
                "n_stages": 5,
                "freq": "30s",
            }
        ),
    }
    return write_all(
        folder,
        {name: text.encode() for name, text in texts.items()}
        | {"annotations.edf": planted_recording(stages=STAGES).bytes()},
    )


def _read_hypnogram(path: Path) -> tuple[Sequence[str], Any]:
    """What is said, and the stages by their time."""
    psg = path.parent / "psg.edf"
    scheme = "profusion" if path.suffix == ".xml" else "aasm"
    found = read_hypnogram(Night("n", "s", None, psg, path, hypnogram_scheme=scheme))
    # Without times of their own, stages that are lost or doubled cannot be told from others; the
    # clock of an EDF+ file stands in it once.
    content = path.read_bytes()
    clock = content[168:184] if path.suffix == ".edf" else b""
    timed = path.name in _TIMED
    stages = dict(zip(found.onset_s.tolist(), found.stage.tolist(), strict=True))
    return found.notes, (clock, stages if timed else {})


_TIMED = ("spans.csv", "clock.csv", "events.tsv", "wfdb.txt", "annotations.edf")
"""Each of their stages says when it was."""


def shifted_stages(whole: Any, found: Any) -> str:
    """Whether three known stages in a row, or more, stand at another time than they were scored at;
    they must not be all alike, nor be there at their own time as well."""
    (clock, truth), (damaged_clock, stages) = whole, found
    if clock != damaged_clock:
        return ""
    moved = [t for t, stage in sorted(truth.items()) if stage >= 0]
    for by in {at - t for at in stages for t in moved}:
        if abs(by) <= TOLERANCE_S:
            continue
        there = [stages.get(t + by) == truth[t] != truth.get(t + by) for t in moved]
        for k in range(len(moved) - 2):
            if all(there[k : k + 3]) and len({truth[t] for t in moved[k : k + 3]}) > 1:
                return f"stages from {moved[k]:g} s on are {by:g} s later"
    return ""


def _make_manifest(folder: Path) -> Sequence[Path]:
    (folder / "a.edf").write_bytes(b"x")
    header = "night_id,subject_id,psg,video,ahi,age,sex,video_start,sync_offset_s,scorer\n"
    files = "a.edf|a.edf,a.edf"
    rows = [f"n{k},s{k},{files},{k},{40 + k},F,2024-01-31T22:15:03,0,\n" for k in range(6)]
    plain = header + "".join(rows)
    quoted = plain.replace("a.edf|a.edf", '"a.edf"')
    return write_all(folder, {"plain.csv": plain.encode(), "quoted.csv": quoted.encode()})


def _read_manifest(path: Path) -> tuple[Sequence[str], Any]:
    _, problems = parse_manifest(path)
    return problems, None


def _make_videos(folder: Path) -> Sequence[Path]:
    told = {"title": f"{NAME} {SURNAME}", "comment": DATE, "creation_time": "2024-01-31T22:15:03Z"}
    write = partial(write_video, stamps=steady(60, 10), metadata=told)
    return [
        write(folder / "a.mp4"),
        write(folder / "b.mkv"),
        write(folder / "c.avi", codec="mpeg4"),
        write(folder / "d.ts"),
    ]


def _read_video(path: Path) -> tuple[Sequence[str], Any]:
    with VideoReader(path, name="n") as video:
        moments = np.arange(0.0, 6.0, 0.5)
        video.read_frames(moments, 8, 8)
        said = [str(note) for note in video.notes]
    with VideoReader(path, name="n") as video:
        video.seek_end()
        said += [str(video.creation_time), str(video.declared_s), *map(str, video.notes)]
    return said, None


def write_all(folder: Path, contents: dict[str, bytes]) -> Sequence[Path]:
    """Files by their names; returns their paths."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


RECORDED = (
    Target("edf", _make_edf, _read_edf, share=8),
    Target("hypnogram", _make_hypnograms, _read_hypnogram, share=8, wrong=shifted_stages),
    Target("manifest", _make_manifest, _read_manifest, share=2),
    Target("video", _make_videos, _read_video, share=2),
)
