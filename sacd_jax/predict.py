"""Stages a night from its infrared video alone: hypnogram files, statistics and a page."""

import argparse
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

from input_pipeline.command_errors import one_line_errors
from input_pipeline.digests import json_digest
from input_pipeline.errors import UserError
from input_pipeline.files import remove_unfinished, whole_file, write_json
from input_pipeline.fingerprints import file_fingerprint
from input_pipeline.night import Night, parse_moment, read_manifest
from sacd_jax.staging import memory, result_files
from sacd_jax.staging.result_files import PAGE, PICTURE, STATISTICS
from sacd_jax.staging.staged_night import StagedNight
from sacd_jax.staging.stager import Stager, load_stager
from sacd_jax.staging.statistics import night_statistics

EXAMPLE = "python -m sacd_jax.predict --model runs/demo/sacd --video night.mp4 --out staged"


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.predict",
        description=__doc__,
        epilog=f"example: {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder of a finished run")
    add("--video", type=Path, nargs="+", help="a file, a folder, or several files of one night")
    add("--manifest", type=Path, help="stages every night of a manifest that has a video")
    add("--out", type=Path, required=True, help="folder for the results")
    add(
        "--start",
        nargs="+",
        default=(),
        help="local clock time of the video's first moment, 2024-01-31T22:15:03; of several files "
        "without a clock, one for each",
    )
    add("--name", default="night", help="what results call the night (%(default)s)")
    add("--threads", type=int, default=0, help="that decode; 0 lets FFmpeg choose")
    arguments = parser.parse_args(argv)
    if (arguments.video is None) == (arguments.manifest is None):
        parser.error("expected either --video or --manifest")
    if arguments.video is not None:
        result_files.refuse_others(arguments.out)
    memory.map_large_blocks()
    stager = load_stager(arguments.model)
    if arguments.video is not None:
        night = stager.predict(
            arguments.video,
            start=[_moment(text) for text in arguments.start],
            name=arguments.name,
            threads=arguments.threads,
        )
        write(night, arguments.out, arguments.name)
        return
    if arguments.start:
        parser.error("--start is for a single night; a manifest has video_start")
    _stage_manifest(stager, arguments)


def _stage_manifest(stager: Stager, arguments: argparse.Namespace) -> None:
    """Stages one night after the other; one that cannot be read is named, and the others go on."""
    nights = [night for night in read_manifest(arguments.manifest) if night.video is not None]
    if not nights:
        raise UserError(f"manifest {arguments.manifest}: no night has a video")
    left_out = 0
    for night in nights:
        folder = arguments.out / night.night_id
        try:
            made_from = _made_from(stager, night)
            if _is_there(folder, made_from):
                print(f"{night.night_id}: staged already, see {folder / PAGE}")
                continue
            result_files.refuse_others(folder)
            staged = stager.predict_night(night, threads=arguments.threads)
        except UserError as error:
            print(f"not staged: {error}", file=sys.stderr, flush=True)
            left_out += 1
            continue
        write(staged, folder, night.night_id, made_from)
    if left_out:
        raise UserError(f"{left_out} of {len(nights)} nights could not be staged, see above")


def _made_from(stager: Stager, night: Night) -> str:
    """A digest of all that the files of a staged night depend on."""
    row = (night.night_id, night.video_start, night.sync_offset_s, night.sync_drift_ppm)
    try:
        # A name may say when its video began.
        videos = [[path.name, file_fingerprint(path)] for path in night.video_files]
    except OSError:  # reading it will say so
        videos = []
    version = metadata.version("sacd-jax")
    network = (stager.model.inputs, stager.facts, stager.temperature)
    return json_digest([str(network), str(row), videos, version])


def _is_there(folder: Path, made_from: str) -> bool:
    """Whether all files of a night that was made from the same are there; the page is the last."""
    same = result_files.statistics(folder).get("made_from") == made_from
    return same and all((folder / name).is_file() for name in result_files.ALL)


def write(night: StagedNight, folder: Path, name: str, made_from: str = "") -> None:
    """Writes all files of a staged night and prints where the page is.

    Args:
        night: what the stager said.
        folder: for the files.
        name: that they call the night.
        made_from: a digest of what it was made from, for a later start of the same command.
    """
    # Libraries of figures and files take memory that the video and the compiler need before.
    from sacd_jax.staging import hypnogram_files
    from sacd_jax.staging.page import night_figure, night_page

    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    (folder / PAGE).unlink(missing_ok=True)
    statistics = night_statistics(night)
    write_json(folder / STATISTICS, {**statistics, "made_from": made_from})
    hypnogram_files.write_all(night, folder)
    picture = night_figure(night)
    for file, content in {
        PICTURE: picture,
        PAGE: night_page(night, statistics, picture, name).encode(),
    }.items():
        with whole_file(folder / file) as temporary:
            temporary.write_bytes(content)
    unscored = int((~night.scored).sum())
    print(f"{len(night)} epochs, {unscored} not scored; page: {folder / PAGE}")


def _moment(text: str) -> datetime:
    try:
        return parse_moment(text)
    except ValueError as error:
        raise UserError(f"--start: expected {error}") from None


if __name__ == "__main__":
    with one_line_errors():
        main()
