"""A disk that is full: known in whatever form a library reports it, and said in one line."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from input_pipeline.errors import UserError, causes

_CODES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORDS = {os.strerror(code).lower(): code for code in _CODES}
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # NumPy's, without an errno


class DiskFullError(OSError):
    """Says what was to be written, what the operating system says, and how much room it takes."""

    def __str__(self) -> str:
        return self.strerror or ""


def is_full(error: BaseException) -> int | None:
    """The errno of a full disk (or quota, or limit of a file's size) behind an error, or None."""
    for inner in causes(error):
        if isinstance(inner, OSError) and inner.errno in _CODES:
            return inner.errno
        text = str(inner).lower()
        if isinstance(inner, OSError) and inner.errno is None and _SHORT_WRITE.search(text):
            return errno.ENOSPC
        if found := next((code for words, code in _WORDS.items() if words in text), None):
            return found
    return None


def disk_full(code: int, path: Path, needed: int | None = None, written: int = 0) -> DiskFullError:
    """The error to raise.

    Args:
        code: errno.
        path: of what was to be written.
        needed: its size in bytes, if it is known.
        written: bytes of it that were written before the disk was full.
    """
    size = f"more than {_amount(written)}" if needed is None else f"about {_amount(needed)}"
    return DiskFullError(
        code,
        f"{path}: {os.strerror(code).lower()}; it needs {size}, {_amount(free(path))} are free; "
        "make room and run the same command again to go on",
    )


def check_room(path: Path, needed: int) -> None:
    """Refuses to begin what the disk cannot hold.

    Args:
        path: of what is to be written.
        needed: its size in bytes.

    Raises:
        DiskFullError: there is less room.
    """
    if free(path) < needed:
        raise disk_full(errno.ENOSPC, path, needed)


@contextlib.contextmanager
def named_if_full(
    path: Path, needed: int | None = None, temporary: Path | None = None
) -> Iterator[None]:
    """Turns whatever the block says of a full disk into one line that names `path`.

    Args:
        path: of what the block writes.
        needed: its size in bytes, if it is known; where there is less room, it is not begun.
        temporary: where it is written meanwhile.

    Raises:
        DiskFullError: the disk is full.
    """
    try:
        if needed is not None:
            check_room(path, needed)
        yield
    except (DiskFullError, UserError):
        raise
    except Exception as error:
        code = is_full(error)
        if code is None:
            raise
        written = _size(temporary) if temporary and temporary.exists() else 0
        raise disk_full(code, path, needed, written) from None


def free(path: Path) -> int:
    """Free bytes where a file is to be written."""
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(there).free


def _size(path: Path) -> int:
    inside = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in inside if file.is_file())


def _amount(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
