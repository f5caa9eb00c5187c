"""Files and folders that are there whole or not at all."""

import contextlib
import csv
import fcntl
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def _beside(path: Path) -> Path:
    # A hidden sibling on the same file system, so that the rename is atomic.
    # The suffix stays last: writers such as PyAV choose the container by it.
    return path.with_name(f".unfinished-{uuid.uuid4().hex[:8]}-{path.name}")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it takes its name only when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; it takes its name only when the block ends well.

    Raises:
        FileExistsError: `path` is there already; nothing is ever overwritten.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_unfinished(folder: str | os.PathLike, names: str = "*") -> None:
    """Deletes what killed processes left beside their targets in `folder`; `names` is a pattern."""
    for left in Path(folder).glob(f".unfinished-*-{names}"):
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


@contextlib.contextmanager
def only_one(path: str | os.PathLike, waiting: str) -> Iterator[None]:
    """Lets one process at a time into the block; the others wait, and say `waiting` on stderr once.

    `path` is a small file that stays; the lock itself ends with the process, however it ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


def write_csv(path: str | os.PathLike, header: list[str], rows: list[list[Any]]) -> None:
    """Writes a CSV file with one header line, whole or not at all."""
    with whole_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
