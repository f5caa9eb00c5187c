"""Files and folders that are there whole or not at all."""

import codecs
import contextlib
import csv
import fcntl
import json
import os
import re
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from input_pipeline.disk import named_if_full
from input_pipeline.errors import UserError

TEXT_LIMIT = 64 * 2**20
"""Bytes of a text file beyond which it is not read: no manifest or hypnogram comes near."""


def _beside(path: Path) -> Path:
    # A hidden sibling on the same file system, so that the rename is atomic.
    # The suffix stays last: writers such as PyAV choose the container by it.
    return path.with_name(f".unfinished-{uuid.uuid4().hex[:8]}-{path.name}")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, needed: int | None = None) -> Iterator[Path]:
    """Yields a temporary path beside `path`; it takes its name only when the block ends well.

    Args:
        path: of the file.
        needed: its size in bytes, if it is known.

    Raises:
        DiskFullError: names the file and the room that it takes.
    """
    path = Path(path)
    with named_if_full(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with named_if_full(path, needed, temporary):
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike, needed: int | None = None) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; it takes its name only when the block ends well.

    Args:
        path: of the folder.
        needed: bytes of what comes into it, if they are known.

    Raises:
        FileExistsError: `path` is there already; nothing is ever overwritten.
        DiskFullError: names the folder and the room that it takes.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already")
    with named_if_full(path, needed):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with named_if_full(path, needed, temporary):
            temporary.mkdir()
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


@contextlib.contextmanager
def only_results(folder: str | os.PathLike) -> Iterator[None]:
    """Lets one process at a time write results into a folder; what killed ones left is removed."""
    folder = Path(folder)
    with only_one(folder / ".results.lock", f"waiting for another process that writes to {folder}"):
        remove_unfinished(folder)
        yield


@contextlib.contextmanager
def mine_alone(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Keeps other processes out of a folder for the time of the block; they are told who is there.

    `path` is a small file that stays; the lock itself ends with the process, however it ends.

    Args:
        what: is in use, such as "runs/demo/teacher".

    Raises:
        UserError: another process is in such a block; names its host and its process id.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            told = re.fullmatch(r"process \d{1,10} on [\w.-]{1,255}", file.read(300))
            holder = told[0] if told else "another process"
            raise UserError(f"{what} is in use by {holder}; wait for it, or stop it") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(
            json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def write_csv(path: str | os.PathLike, header: list[str], rows: list[list[Any]]) -> None:
    """Writes a CSV file with one header line, whole or not at all."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def read_text(
    path: str | os.PathLike, what: str, most_bytes: int = TEXT_LIMIT, any_encoding: bool = False
) -> str:
    """The text of a file in UTF-8, with or without a byte-order mark, line ends as they are.

    Args:
        what: names the file in an error, such as "night n1: the hypnogram".
        any_encoding: for exports of other programs: UTF-16 is known by its byte-order mark, and
            what is not UTF-8 is read as Latin-1, in which all bytes mean something.

    Raises:
        UserError: no such file, a folder, not to be read, too large, or no text.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(most_bytes + 1)
    except FileNotFoundError:
        raise UserError(f"{what}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{what}: a folder; expected a file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        why = error.strerror if isinstance(error, OSError) else "no file name"
        raise UserError(f"{what}: cannot be read ({why})") from None
    if len(data) > most_bytes:
        raise UserError(f"{what}: larger than {most_bytes / 2**20:g} MB; expected a text file")
    encoding = "utf-8-sig"
    if any_encoding and data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif any_encoding and b"\0" in data:
        raise UserError(f"{what}: not a text file")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if any_encoding and encoding != "utf-16":
            return data.decode("latin-1")
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{what}, line {line}: not text in UTF-8; save it with that encoding"
        ) from None
