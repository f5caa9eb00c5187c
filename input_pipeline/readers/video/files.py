"""Which files a path, a folder or a pattern means."""

import glob
import os
from pathlib import Path

_NAMES = "3gp asf avi dav divx dv flv m2ts m4v mkv mov mp4 mpeg mpg mts mxf nut ogv ts vob webm wmv"
SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())
"""Endings that videos have, in small letters; what else lies in a folder is passed over."""


def find_videos(path: Path) -> list[Path]:
    """The files that `path` stands for, by name: itself, a folder's videos, or those of a pattern
    such as `night7/cam1_*.mp4`.

    Raises:
        ValueError: there is none; the text says what is there, without a name.
    """
    try:
        if path.is_file():
            return [path]
        if path.is_dir():
            found = [each for each in path.iterdir() if each.suffix.lower() in SUFFIXES]
            found = sorted(each for each in found if each.is_file() and each.name[0] != ".")
            if not found:
                raise ValueError("a folder without videos")
            return found
        # Folders that are there mean themselves, whatever brackets their names hold.
        folder = next(each for each in path.parents if each.is_dir())
        pattern = str(path.relative_to(folder))
        if glob.has_magic(pattern):
            within = os.path.join(glob.escape(str(folder)), pattern)
            found = sorted(Path(each) for each in glob.glob(within))
            found = [each for each in found if each.is_file()]
            if not found:
                raise ValueError("a pattern that no file fits")
            return found
    except OSError as error:
        raise ValueError(f"no path that can be opened ({error.strerror})") from None
    raise ValueError("no such file")
