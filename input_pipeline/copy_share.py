"""`python -m input_pipeline.copy_share`: a data set on a disk that is smaller than it.

A training with `data_shares` set takes equally many clips of each share of the training split, so
that a machine needs the frames of its shares alone. Everything else is copied whole; the frames of
other shares become holes, which take no room and are never believed.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np

from input_pipeline.clip_arrays import input_forms
from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets.dataset_files import (
    INFO_FILE,
    SHARE_FILE,
    read_info,
    read_share,
)
from input_pipeline.datasets.frame_files import frame_paths
from input_pipeline.digests import write_verified_json
from input_pipeline.errors import UserError
from input_pipeline.files import remove_unfinished, whole_folder
from input_pipeline.groups import share_bounds
from input_pipeline.progress import Progress
from input_pipeline.source import open_split

SPLIT = "train"


def copy_share(folder: Path, out: Path, first: int, end: int, shares: int) -> bool:
    """Copies the shares `first` to before `end` of `shares` of a data set.

    Args:
        folder: of the data set.
        out: the copy's folder; one of other shares or of other data is replaced.

    Returns:
        Whether it was copied; False where it was there already.

    Raises:
        UserError: the data set keeps its frames in records, or is damaged.
    """
    info = read_info(folder)
    if info.frame_storage != "files":
        raise UserError(
            f"{folder}: frames lie in records; expected a data set built with "
            "dataset.frame_storage 'files'"
        )
    source = open_split(folder, SPLIT)
    rows = share_bounds(len(source), shares)[[first, end]].tolist()
    if (out / INFO_FILE).is_file():
        if read_info(out) == info and read_share(out, len(source)) == range(*rows):
            return False
        shutil.rmtree(out)
    remove_unfinished(out.parent, out.name)
    parts = frame_paths(folder, SPLIT)
    form = input_forms(info)["video"]
    video, every = np.empty(form.shape, form.dtype), np.arange(info.frames)
    with (
        whole_folder(out) as copy,
        Progress(f"copy {folder.name}", total=rows[1] - rows[0], unit="clip") as progress,
    ):
        for path in folder.iterdir():
            if path.is_file() and path not in parts:
                shutil.copyfile(path, copy / path.name)
        row = 0
        for part in parts:
            size = part.stat().st_size
            clips = size // video.nbytes
            with open(copy / part.name, "wb") as target:
                target.truncate(size)
                for place in range(max(rows[0] - row, 0), min(rows[1] - row, clips)):
                    source.read(row + place, {"video": video}, every)  # compares the checksums
                    target.seek(place * video.nbytes)
                    target.write(video.data)
                    progress.advance()
            row += clips
        write_verified_json(copy / SHARE_FILE, {"rows": rows})
    return True


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="input_pipeline.copy_share", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the folder with the data sets")
    add("--out", type=Path, required=True, help="a folder on this machine's own disk")
    add("--shares", type=int, required=True, help="data_shares of the training")
    add("--index", type=int, required=True, help="of this machine, from 0")
    add("--of", type=int, required=True, help="machines; shares are a multiple of them")
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.index < arguments.of:
        parser.error("--index: expected 0 to before --of")
    if arguments.shares < 1 or arguments.shares % arguments.of:
        parser.error("--shares: expected a multiple of --of")
    folders = sorted(path.parent for path in arguments.data.glob(f"*/{INFO_FILE}"))
    if not folders:
        raise UserError(f"{arguments.data}: no data set in it; expected folders with {INFO_FILE}")
    each = arguments.shares // arguments.of
    first = arguments.index * each
    for folder in folders:
        out = arguments.out / folder.name
        copied = copy_share(folder, out, first, first + each, arguments.shares)
        print(f"{out}: {'copied' if copied else 'was there'}, shares {first} to {first + each - 1}")


if __name__ == "__main__":
    with one_line_errors():
        main()
