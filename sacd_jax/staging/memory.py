"""Memory that the C library would keep for itself.

glibc's `malloc` keeps what was freed for later use and, once a block of many megabytes has been
freed, takes such blocks from the heap, where growing ones leave holes: reading the index of a video
of ten hours twice took 100 MB in place of 40, compiling a network leaves 47 MB. Other C libraries
have no such functions, and nothing is done.
"""

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
_LARGE = 2**20


def map_large_blocks() -> None:
    """From now on, blocks of a megabyte or more have pages of their own, which freeing gives back.

    It holds for the whole process, so a command does it, not a library.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Gives freed memory back to the machine."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
