"""`python -m input_pipeline.inspect`: opens every file of a manifest and says what is wrong, before
training."""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from input_pipeline.clips import ClipSettings, check_coverage, clips
from input_pipeline.command_errors import one_line_errors
from input_pipeline.errors import UserError
from input_pipeline.night import Night, parse_manifest
from input_pipeline.processes import parallel_map
from input_pipeline.progress import Progress
from input_pipeline.readers.edf import Signal, read_signal
from input_pipeline.readers.hypnogram import Hypnogram, read_hypnogram
from input_pipeline.readers.sync import clock, video_start
from input_pipeline.readers.video import VideoReader
from input_pipeline.stages import CLIP_SECONDS, STAGES

T = TypeVar("T")


@dataclass
class Findings:
    """What is wrong with one night, one line each."""

    night_id: str
    errors: list[str] = field(default_factory=list)
    """Why the night cannot be used."""
    notes: list[str] = field(default_factory=list)
    """What a user should look at."""

    def note(self, text: str) -> None:
        self.notes.append(f"night {self.night_id}: {text}")

    def attempt(self, function: Callable[[], T]) -> T | None:
        """The function's value, or None with its error kept: one bad file does not hide the
        next."""
        try:
            return function()
        except UserError as error:
            self.errors.append(str(error))
            return None


def inspect_night(night: Night, settings: ClipSettings, full: bool = False) -> Findings:
    """Opens all files of a night and checks that they fit together.

    Args:
        settings: what the clips will be.
        full: decode the whole video too, as building a data set would; else its first and last
            frames.
    """
    findings = Findings(night.night_id)
    if night.ahi is None:
        findings.note("no AHI in the manifest; splits by AHI group need one")
    signal = findings.attempt(
        lambda: read_signal(night.psg, night.psg_channel, name=night.night_id, unit=night.psg_unit)
    )
    if signal is not None:
        _inspect_signal(signal, findings)
    hypnogram = findings.attempt(lambda: read_hypnogram(night))
    if hypnogram is not None:
        _inspect_hypnogram(hypnogram, findings)
    if night.video is None:
        findings.note("no video; good for an EEG teacher alone")
        return findings
    findings.attempt(lambda: _inspect_video(night, signal, hypnogram, settings, findings))
    if full and not findings.errors:
        findings.attempt(lambda: _inspect_clips(night, settings, findings))
    return findings


def _inspect_signal(signal: Signal, findings: Findings) -> None:
    for text in signal.notes:
        findings.note(f"PSG: {text}")
    if signal.gaps:
        seconds = sum(end - begin for begin, end in signal.gaps)
        findings.note(f"pauses in the PSG: {len(signal.gaps)}, {seconds:.1f} s in all")


def _inspect_hypnogram(hypnogram: Hypnogram, findings: Findings) -> None:
    if hypnogram.mixed:
        findings.note(
            f"the scoring changes inside {hypnogram.mixed} of {len(hypnogram.stage)} clips; their "
            "stage is unknown"
        )
    missing = [name for label, name in enumerate(STAGES) if label not in hypnogram.stage]
    if len(missing) == len(STAGES):
        findings.errors.append(f"night {findings.night_id}: no clip of a known stage")
    elif missing:
        findings.note(f"no clip of {', '.join(missing)}")


def _inspect_video(
    night: Night,
    signal: Signal | None,
    hypnogram: Hypnogram | None,
    settings: ClipSettings,
    findings: Findings,
) -> None:
    assert night.video is not None
    with VideoReader(night.video, name=night.night_id) as video:
        creation_time, declared, rate = video.creation_time, video.declared_s, video.frame_rate
        end = video.seek_end()
    if declared is not None and end < declared - CLIP_SECONDS:
        findings.note(f"the video promises {declared:.0f} s, but its last frame is at {end:.0f} s")
    if rate is not None and rate < 0.95 * settings.frame_rate:
        findings.note(f"{rate:.3g} frames a second in the video, {settings.frame_rate:g} in a clip")
    _, source = video_start(night, creation_time)
    if source == "container":
        findings.note(
            "the start of the video is the container's creation time; check that it is local time"
        )
    if signal is not None and hypnogram is not None:
        starts = hypnogram.onset_s[hypnogram.onset_s + CLIP_SECONDS <= signal.seconds]
        seconds = clock(night, signal.start, creation_time).video_seconds(starts)
        check_coverage(night, seconds, end, settings)


def _inspect_clips(night: Night, settings: ClipSettings, findings: Findings) -> None:
    records = clips(night, settings)
    for _ in records:
        pass
    for reason, count in records.counts.items():
        if reason != "kept":
            findings.note(f"{count} clips left out ({reason}), {records.counts['kept']} kept")


def main(argv: list[str] | None = None) -> None:
    """Inspects the nights of a manifest; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.inspect",
        description="Opens every file of a manifest and says what is wrong, one line a problem. "
        "Exits with 1 if any night cannot be used.",
        epilog="example: python -m input_pipeline.inspect --manifest nights/nights.csv --full",
    )
    parser.add_argument("--manifest", required=True, help="CSV file with one row a night")
    parser.add_argument("--full", action="store_true", help="decode whole videos (slow), not ends")
    parser.add_argument("--frame-rate", type=float, default=2.0, help="frames a second of a clip")
    parser.add_argument("--jobs", type=int, default=None, help="nights read at once (all cores)")
    arguments = parser.parse_args(argv)
    settings = ClipSettings(frame_rate=arguments.frame_rate, height=8, width=8)
    nights, problems = parse_manifest(arguments.manifest)
    unusable = 0
    for problem in problems:
        print(f"unusable: {problem}")
    inspect = functools.partial(inspect_night, settings=settings, full=arguments.full)
    with Progress("inspect nights", total=len(nights), unit="night") as progress:
        for _, findings in parallel_map(inspect, nights, arguments.jobs):
            for level, lines in (("unusable", findings.errors), ("note", findings.notes)):
                for line in lines:
                    print(f"{level}: {line}", flush=True)
            unusable += bool(findings.errors)
            progress.advance()
    if unusable or problems:
        rows = f" and {len(problems)} problems in the manifest's rows" if problems else ""
        raise UserError(f"{unusable} of {len(nights)} nights cannot be used{rows}")
    print(f"{len(nights)} nights can be used")


if __name__ == "__main__":
    with one_line_errors():
        main()
