"""`python -m input_pipeline.align`: offset and drift of each night's camera, or a refusal."""

import argparse
import functools
from dataclasses import dataclass
from pathlib import Path

from input_pipeline.alignment.manifest_columns import set_columns
from input_pipeline.alignment.match import Search, match
from input_pipeline.alignment.picture import draw_match
from input_pipeline.alignment.reading import read_psg_side, read_video_side
from input_pipeline.alignment.sidecar import frame_times, write_frame_times
from input_pipeline.command_errors import one_line_errors
from input_pipeline.errors import UserError
from input_pipeline.night import Night, parse_manifest
from input_pipeline.processes import parallel_map
from input_pipeline.progress import Progress
from input_pipeline.readers.sync import clock as night_clock

_EXAMPLE = """example:
  python -m input_pipeline.align --manifest nights/nights.csv
      writes nights/nights.aligned.csv, and nights/alignment/ with a picture and the frames' times
      of each night; look at the pictures, then repeat with --write or use the new manifest
"""


@dataclass(frozen=True)
class Aligned:
    """The outcome of one night."""

    night_id: str
    line: str
    """What the user reads."""
    cells: dict[str, str]
    """Cells of the manifest; empty if refused."""


def align_night(night: Night, out: Path, search: Search) -> Aligned:
    """Aligns a night and draws its picture into `out`; a night that cannot be read is refused."""
    try:
        return _align(night, out, search)
    except UserError as error:
        reason = str(error).removeprefix(f"night {night.night_id}: ")
        return Aligned(night.night_id, f"refused: {reason}", {})


def _align(night: Night, out: Path, search: Search) -> Aligned:
    if night.video is None:
        raise UserError(f"night {night.night_id}: no video in the manifest")
    psg = read_psg_side(night)
    video = read_video_side(night)
    prior = night_clock(night, psg.start, video.creation_time)
    if prior.drift_ppm != night.sync_drift_ppm:
        raise UserError(
            f"night {night.night_id}: sync_drift_ppm stands for the wrong frame rate of several "
            "files; no drift of the clocks can be stated beside it"
        )
    found = match(video, psg, prior, search)
    if isinstance(found, str):
        raise UserError(f"night {night.night_id}: {found}")
    offset = night.sync_offset_s + found.clock.offset_s - prior.offset_s
    drift = found.clock.drift_ppm
    used = ", ".join(f"{count} {kind}" for kind, count in psg.channels.items() if count)
    result = (
        f"offset {offset:.3f} s, drift {drift:.1f} ppm, residual {found.residual_s:.2f} s, "
        f"confidence {found.confidence:.1f}"
    )
    line = f"{result} ({used})" if found.refusal is None else f"refused: {found.refusal} ({used})"
    title = f"{night.night_id}: {result}"
    if found.refusal is not None:
        title = f"{night.night_id}, refused; the best match: {result}"
    draw_match(out / f"{night.night_id}.png", title, video, psg, found)
    if found.refusal is not None:
        return Aligned(night.night_id, line, {})
    if len(night.video_files) == 1:  # mne-videobrowser takes the times of one file's frames
        times = frame_times(video.frame_times_s, found.clock, psg.gaps)
        write_frame_times(out / f"{night.night_id}_frame_times.npy", times)
    cells = {"sync_offset_s": f"{offset:.3f}", "sync_drift_ppm": f"{drift:.1f}"}
    return Aligned(night.night_id, line, cells)


def main(argv: list[str] | None = None) -> None:
    """Aligns the nights of a manifest; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m input_pipeline.align",
        description="Finds offset and drift of each night's camera by matching movement and "
        "breathing in the video to EMG, EEG and effort belts. A night without a clear match is "
        "refused and keeps its cells; the command then exits with 1.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, help="CSV file with one row a night"
    )
    parser.add_argument(
        "--write",
        action="store_true",
        help="set sync_offset_s and sync_drift_ppm in the manifest itself, not in a copy beside it",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder of pictures and frame times (default: alignment/ beside the manifest)",
    )
    parser.add_argument(
        "--max-offset-s",
        type=float,
        default=180.0,
        metavar="S",
        help="how far the clocks may be off from what the manifest says (default 180)",
    )
    parser.add_argument(
        "--max-drift-ppm",
        type=float,
        default=200.0,
        metavar="PPM",
        help="the same for the drift (default 200)",
    )
    parser.add_argument("--jobs", type=int, default=None, help="nights read at once (all cores)")
    arguments = parser.parse_args(argv)
    if not 5 <= arguments.max_offset_s <= 7200:
        parser.error("--max-offset-s: expected 5 to 7200 seconds")
    if not 0 <= arguments.max_drift_ppm <= 1000:
        parser.error("--max-drift-ppm: expected 0 to 1000")
    if arguments.jobs is not None and arguments.jobs < 1:
        parser.error("--jobs: expected 1 or more")
    manifest: Path = arguments.manifest
    out = arguments.out or manifest.parent / "alignment"
    search = Search(arguments.max_offset_s, arguments.max_drift_ppm)
    nights, problems = parse_manifest(manifest)
    for problem in problems:
        print(f"unusable: {problem}")
    out.mkdir(parents=True, exist_ok=True)
    cells: dict[str, dict[str, str]] = {}
    with Progress("align nights", total=len(nights), unit="night") as progress:
        align = functools.partial(align_night, out=out, search=search)
        for _, aligned in parallel_map(align, nights, arguments.jobs):
            print(f"night {aligned.night_id}: {aligned.line}", flush=True)
            if aligned.cells:
                cells[aligned.night_id] = aligned.cells
            progress.advance()
    if cells:
        target = manifest if arguments.write else manifest.with_suffix(".aligned.csv")
        set_columns(manifest, target, cells)
        print(f"{len(cells)} of {len(nights)} nights aligned in {target}; pictures in {out}")
    if len(cells) < len(nights) or problems:
        raise UserError(
            f"{len(nights) - len(cells)} of {len(nights)} nights were refused"
            + (f" and {len(problems)} cells of the manifest are wrong" if problems else "")
            + "; their rows keep what they had"
        )


if __name__ == "__main__":
    with one_line_errors():
        main()
