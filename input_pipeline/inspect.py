"""`python -m input_pipeline.inspect`: opens every file of a manifest and says what is wrong, before
training."""

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from input_pipeline.checks import (
    compare_times,
    hypnogram_notes,
    signal_notes,
    twin_notes,
    video_notes,
)
from input_pipeline.clips import ClipSettings, clips
from input_pipeline.command_errors import one_line_errors
from input_pipeline.errors import UserError
from input_pipeline.foreign_text import values_shown
from input_pipeline.night import Night, parse_manifest
from input_pipeline.processes import parallel_map
from input_pipeline.progress import Progress
from input_pipeline.readers.edf import Signal, read_signal
from input_pipeline.readers.hypnogram import Hypnogram, read_hypnogram
from input_pipeline.readers.montage import derivation
from input_pipeline.readers.sync import clock, open_night_video, rate_note, video_start

T = TypeVar("T")


@dataclass
class Findings:
    """What is wrong with one night, one line each."""

    night_id: str
    errors: list[str] = field(default_factory=list)
    """Why the night cannot be used."""
    notes: list[str] = field(default_factory=list)
    """What a user should look at."""
    channel: str = ""
    """The derivation of its EEG, however the file spells it; "" where none was read."""

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
    signal = findings.attempt(
        lambda: read_signal(night.psg, night.psg_channel, name=night.night_id, unit=night.psg_unit)
    )
    hypnogram = findings.attempt(lambda: read_hypnogram(night))
    video = findings.attempt(lambda: _read_video(night))
    # Times first: files of different nights are the cause of all else that is odd about them.
    if signal is not None and hypnogram is not None and (video or night.video is None):
        findings.attempt(lambda: _compare(night, signal, hypnogram, video, settings, findings))
    if night.ahi is None:
        findings.note("no AHI in the manifest; splits by AHI group need one")
    if signal is not None:
        findings.channel = derivation(signal.channel)
        for text in signal_notes(signal):
            findings.note(text)
    if hypnogram is not None:
        for text in hypnogram_notes(hypnogram):
            findings.note(text)
        if not night.scored:
            findings.note("not scored; trains a student through its teacher alone")
        elif not (hypnogram.stage >= 0).any():
            findings.errors.append(f"night {night.night_id}: no clip of a known stage")
    if video is not None:
        rates = video.frame_rate, settings.frame_rate
        for text in video_notes(video.start_source, video.declared_s, video.end_s, *rates):
            findings.note(text)
    elif night.video is None:
        findings.note("no video; good for an EEG teacher alone")
    if full and night.video is not None and not findings.errors:
        findings.attempt(lambda: _inspect_clips(night, settings, findings))
    return findings


@dataclass(frozen=True)
class _Video:
    """What the two ends of a video say."""

    creation_time: datetime | None
    start_source: str
    declared_s: float | None
    frame_rate: float | None
    end_s: float
    one_clock: bool
    notes: list[str]


def _read_video(night: Night) -> _Video | None:
    if night.video is None:
        return None
    with open_night_video(night) as video:
        _, source = video_start(night, video.creation_time)
        end = video.seek_end()
        return _Video(
            video.creation_time,
            source,
            video.declared_s,
            video.frame_rate,
            end,
            video.one_clock,
            video.notes,
        )


def _compare(
    night: Night,
    signal: Signal,
    hypnogram: Hypnogram,
    video: _Video | None,
    settings: ClipSettings,
    findings: Findings,
) -> None:
    relation = None if video is None else clock(night, signal.start, video.creation_time)
    notes = compare_times(
        night.night_id,
        hypnogram.onset_s,
        signal.seconds,
        relation,
        None if video is None else video.end_s,
        settings.max_uncovered,
        () if video is None else [f"video: {note}" for note in video.notes],
        night.scored,
    )
    if relation is not None and video is not None and video.one_clock:
        note = rate_note(relation, video.end_s, signal.seconds)
        notes += [note] if note else []
    for text in notes:
        findings.note(text)


def _inspect_clips(night: Night, settings: ClipSettings, findings: Findings) -> None:
    records = clips(night, settings)
    for _ in records:
        pass
    for reason, count in records.counts.items():
        if reason != "kept":
            findings.note(f"{count} clips left out ({reason}), {records.counts['kept']} kept")


def _channel_note(findings: Sequence[Findings]) -> str | None:
    """What to say where nights are read from different channels: differences between them are then
    differences of channels, too."""
    nights: dict[str, list[str]] = {}
    for each in findings:
        if each.channel:
            nights.setdefault(each.channel, []).append(each.night_id)
    if len(nights) < 2:
        return None
    by_number = sorted(nights.items(), key=lambda item: -len(item[1]))
    said = [f"{channel} in {len(names)} (as {names[0]})" for channel, names in by_number[:6]]
    more = f" and {len(nights) - 6} other channels" if len(nights) > 6 else ""
    return f"nights are read from different channels: {', '.join(said)}{more}; one can be named"


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
    parser.add_argument(
        "--show-values",
        action="store_true",
        help="show cells and texts that are wrong, for your own eyes: they may name a patient",
    )
    arguments = parser.parse_args(argv)
    with values_shown(arguments.show_values):
        _inspect_all(arguments)


def _inspect_all(arguments: argparse.Namespace) -> None:
    settings = ClipSettings(frame_rate=arguments.frame_rate, height=8, width=8)
    nights, problems = parse_manifest(arguments.manifest)
    unusable, inspected = 0, list[Findings]()
    for problem in problems:
        print(f"unusable: {problem}")
    for note in twin_notes(nights):
        print(f"note: {note}")
    inspect = functools.partial(inspect_night, settings=settings, full=arguments.full)
    with Progress("inspect nights", total=len(nights), unit="night") as progress:
        for _, findings in parallel_map(inspect, nights, arguments.jobs):
            for level, lines in (("unusable", findings.errors), ("note", findings.notes)):
                for line in lines:
                    print(f"{level}: {line}", flush=True)
            unusable += bool(findings.errors)
            inspected.append(findings)
            progress.advance()
    if note := _channel_note(inspected):
        print(f"note: {note} (psg_channel)")
    if unusable or problems:
        found = [f"{unusable} of {len(nights)} nights cannot be used"] if unusable else []
        found += [f"{len(problems)} problems in the manifest's rows"] if problems else []
        raise UserError(" and ".join(found))
    print(f"{len(nights)} nights can be used")


if __name__ == "__main__":
    with one_line_errors():
        main()
