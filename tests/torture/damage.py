"""Ways in which a file comes to harm: transfers that stop, disks that fail, tools that shift
columns, people who type."""

from collections.abc import Callable

import numpy as np

from tests.torture.planted import WORDS

MOST_BYTES = 1 << 20
"""A damaged file is never longer."""

_NUMBERS = (b"-1", b"0", b"1e-6", b"1e13", b"1e999", b"nan", b"inf", b"0,5", b"4294967296")
_NUMBERS += (b"9" * 400,)
_MARKS = b"\0\n\r\t,;|:\"'<&\x14\x15\xff\xfe"


def _slice(rng: np.random.Generator, data: bytes, most: int = 400) -> slice:
    first = int(rng.integers(0, len(data) + 1))
    return slice(first, first + int(rng.integers(1, most)))


def flip_bits(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, max(1, len(data)), int(rng.integers(1, 8))):
        if data:
            changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def put_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    place = _slice(rng, data, 40)
    changed[place] = rng.bytes(len(changed[place]))
    return bytes(changed)


def cut_end(rng: np.random.Generator, data: bytes) -> bytes:
    return data[: int(rng.integers(0, len(data) + 1))]


def cut_beginning(rng: np.random.Generator, data: bytes) -> bytes:
    return data[int(rng.integers(0, len(data) + 1)) :]


def leave_out(rng: np.random.Generator, data: bytes) -> bytes:
    place = _slice(rng, data)
    return data[: place.start] + data[place.stop :]


def repeat(rng: np.random.Generator, data: bytes) -> bytes:
    place = _slice(rng, data)
    times = int(rng.choice([2, 3, 50, 2000]))
    return data[: place.stop] + data[place] * times + data[place.stop :]


def blank(rng: np.random.Generator, data: bytes) -> bytes:
    changed = bytearray(data)
    place = _slice(rng, data)
    changed[place] = bytes([int(rng.choice([0, 32, 255]))]) * len(changed[place])
    return bytes(changed)


def swap(rng: np.random.Generator, data: bytes) -> bytes:
    a, b = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
    length = int(rng.integers(1, 100))
    return data[:a] + data[b : b + length] + data[a + length : b] + data[a : a + length] + data[b:]


def insert_mark(rng: np.random.Generator, data: bytes) -> bytes:
    place = int(rng.integers(0, len(data) + 1))
    mark = _MARKS[int(rng.integers(len(_MARKS)))]
    return data[:place] + bytes([mark]) * int(rng.choice([1, 1, 2, 500])) + data[place:]


def replace_number(rng: np.random.Generator, data: bytes) -> bytes:
    """Another number where one stands; what follows keeps its place if there is room."""
    digits = [i for i, byte in enumerate(data[:4096]) if 48 <= byte <= 57]
    first = int(rng.choice(digits)) if digits else 0
    last = first
    while data[last : last + 1].isdigit():
        last += 1
    number = _NUMBERS[int(rng.integers(len(_NUMBERS)))]
    if rng.random() < 0.5:  # over the characters that stand there
        return data[:first] + number[:8] + data[first + len(number[:8]) :]
    return data[:first] + number + data[last:]


def plant(rng: np.random.Generator, data: bytes) -> bytes:
    """A planted word over what stands there, or pushed in between."""
    word = WORDS[int(rng.integers(len(WORDS)))].encode()
    place = int(rng.integers(0, min(len(data), 4096) + 1))
    behind = place + len(word) * int(rng.integers(2))
    return data[:place] + word + data[behind:]


KINDS: tuple[Callable[[np.random.Generator, bytes], bytes], ...] = (
    flip_bits,
    put_bytes,
    cut_end,
    cut_beginning,
    leave_out,
    repeat,
    blank,
    swap,
    insert_mark,
    replace_number,
    plant,
)


def damage(rng: np.random.Generator, data: bytes) -> bytes:
    """`data` after one to three kinds of harm; planting a word is one in every other case."""
    kinds = [KINDS[int(k)] for k in rng.integers(len(KINDS), size=int(rng.integers(1, 4)))]
    if rng.random() < 0.5:
        kinds.append(plant)
    for kind in kinds:
        data = kind(rng, data)[:MOST_BYTES]
    return data
