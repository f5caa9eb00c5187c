"""The pickle reader: plain data as it was; anything else one clear refusal, whatever the bytes."""

import contextlib
import pickle
import pickletools
import time
import tracemalloc
from collections import OrderedDict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sacd_jax.pretrained.pickle_data import (
    MAX_BYTES,
    MAX_OPCODES,
    Global,
    Inert,
    RefusedError,
    printable,
    read_pickle,
)

KNOWN = {"collections.OrderedDict": dict, "collections.Counter": None}


def read(data: bytes):
    return read_pickle(data, KNOWN, persistent=lambda key: ("persistent", key))


numbers = st.integers(-(2**200), 2**200) | st.floats(allow_nan=False) | st.booleans() | st.none()
keys = st.text() | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()
plain = st.recursive(
    numbers | st.text() | st.binary(),
    lambda children: (
        st.lists(children)
        | st.lists(children).map(tuple)
        | st.dictionaries(keys, children)
        | st.dictionaries(st.text(), children).map(OrderedDict)
    ),
    max_leaves=20,
)


@given(plain, st.sampled_from([2, 3, 4, 5]))
def test_plain_data_comes_back(value, protocol):
    if protocol == 2 and _has_bytes(value):
        protocol = 3  # protocol 2 knows no bytes and writes a call
    back = read(pickle.dumps(value, protocol))
    assert back == value
    assert repr(_plain(value)) == repr(back)  # 1, 1.0 and True are told apart


def _has_bytes(value) -> bool:
    if isinstance(value, dict):
        return any(map(_has_bytes, value.values()))
    return isinstance(value, bytes) or (
        isinstance(value, list | tuple) and any(map(_has_bytes, value))
    )


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value


def test_shared_and_self_containing_objects_keep_their_identity():
    shared = [1]
    loop: list = [shared, shared]
    loop.append(loop)
    back = read(pickle.dumps(loop, 2))
    assert back[0] is back[1]
    assert back[2] is back


def test_known_names_are_not_made():
    from collections import Counter

    back = read(pickle.dumps({"milestones": Counter({50: 1}), "epoch": 200}, 2))
    assert back == {"milestones": Inert("collections.Counter"), "epoch": 200}


class Trainer:
    """A class that no table knows; making one, or giving it its state, must not happen."""

    def __new__(cls):
        raise AssertionError

    def __setstate__(self, state):
        raise AssertionError


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_objects_of_any_class_are_left_as_marks(protocol):
    trainer = object.__new__(Trainer)
    trainer.folder = {"name": "saved"}
    value = {"config": trainer, "again": trainer, "kind": Trainer, "epoch": 3}
    back = read(pickle.dumps(value, protocol))
    mark, name = Inert(f"{__name__}.Trainer"), Global(f"{__name__}.Trainer")
    assert back == {"config": mark, "again": mark, "kind": name, "epoch": 3}
    assert back["config"] is back["again"]


class Boom:
    """Unpickling it would run a command."""

    def __reduce__(self):
        import os

        return (os.system, ("touch /tmp/should-never-be-there",))


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_a_name_that_is_not_known_is_refused_and_named(protocol, monkeypatch):
    called = []
    monkeypatch.setattr("os.system", called.append)
    with pytest.raises(RefusedError, match=r"opcode|asks for \w+\.<?\w+"):
        read(pickle.dumps({"weights": Boom()}, protocol))
    assert called == []
    with pytest.raises(RefusedError, match=r"it asks for posix\.system, which is never built here"):
        read(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.")


FORBIDDEN = [
    (b"\x80\x02(iposix\nsystem\n.", "INST"),
    (b"\x80\x02(cposix\nsystem\nX\x02\x00\x00\x00lso.", "OBJ"),
    (b"\x80\x02(]o.", "OBJ"),
    (b"\x80\x02\x82\x01.", "EXT1"),
    (b"\x80\x02P1\n.", "PERSID"),
    (b"I1\n.", "INT"),
    (b"\x80\x05\x97.", "NEXT_BUFFER"),
    (b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "BYTEARRAY8"),
    (b"\x80\x04\x8f.", "EMPTY_SET"),
    (b"\x80\x04)}\x92.", "NEWOBJ_EX"),
    (b"\x80\x02\x8b\x01\x00\x00\x00\x01.", "LONG4"),
]


@pytest.mark.parametrize(("data", "named"), FORBIDDEN)
def test_opcodes_beyond_plain_data_are_refused_and_named(data, named):
    with pytest.raises(RefusedError, match=named):
        read(data)


BROKEN = {
    "empty": b"",
    "no end": b"\x80\x02}",
    "nothing to return": b"\x80\x02.",
    "unknown opcode": b"\x80\x02\xff.",
    "unknown memo": b"\x80\x02h\x05.",
    "mark missing": b"\x80\x02}u.",
    "tuple of nothing": b"\x80\x02\x86.",
    "odd number of items": b"\x80\x02}(K\x01u.",
    "items of a list": b"\x80\x02](K\x01K\x02u.",
    "append to a number": b"\x80\x02K\x01K\x02a.",
    "state of a number": b"\x80\x02K\x01}b.",
    "call of a number": b"\x80\x02K\x01)R.",
    "call without a tuple": b"\x80\x02ccollections\nOrderedDict\nK\x01R.",
    "call with too much": b"\x80\x02ccollections\nOrderedDict\n(K\x01K\x02K\x03tR.",
    "name that is a number": b"\x80\x04K\x01K\x02\x93.",
    "text cut short": b"\x80\x02X\xff\xff\xff\x7fab.",
    "bytes that claim 2^63": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.",
    "text that is no text": b"\x80\x02X\x01\x00\x00\x00\xff.",
    "mark popped under": b"\x80\x02K\x01(0]a(0000.",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_broken_pickles_are_refused(data):
    with pytest.raises(RefusedError):
        read(data)


def test_a_string_with_an_unknown_escape_is_refused_without_a_warning():
    with pytest.raises(RefusedError, match="STRING"):
        read_pickle(b"\x80\x02S'\\o'\n.", {}, lambda key: key)


def test_a_tuple_as_key_is_refused():
    """Hashing one that is nested a million deep would overrun the interpreter's stack."""
    with pytest.raises(RefusedError, match="key of type tuple"):
        read(pickle.dumps({(1, 2): 3}, 2))
    with pytest.raises(RefusedError, match="key of type tuple"):
        read(b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.")


def test_deep_nesting_is_read_without_recursion():
    depth = 100_000
    back = read(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    for _ in range(depth - 1):
        (back,) = back
    assert back == []


def test_too_long_and_too_many():
    with pytest.raises(RefusedError, match=f"expected at most {MAX_BYTES}"):
        read(b"\x80\x02" + b"N" * MAX_BYTES)
    with pytest.raises(RefusedError, match=f"more than {MAX_OPCODES} opcodes"):
        read(b"\x80\x02" + b"N" * (MAX_OPCODES + 1) + b".")


def test_doubling_takes_no_memory():
    """Each level names the one below twice: 2^1000 leaves in three bytes a level."""
    data = b"\x80\x02]" + b"q\x00h\x00\x86" * 1000 + b"."
    tracemalloc.start()
    try:
        read(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


codes = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
pieces = (
    st.sampled_from(codes)
    | st.binary(max_size=6)
    | st.sampled_from([b"ccollections\nOrderedDict\n"])
)


@given(st.lists(pieces, max_size=40).map(b"".join))
@example(b"cos\nsystem\n.")
def test_any_bytes_are_read_or_refused(data):
    started = time.process_time()
    try:
        read(data)
    except RefusedError as error:
        assert str(error).isprintable()
        assert len(str(error)) < 500
    assert time.process_time() - started < 5


@given(plain, st.data())
def test_any_change_of_a_pickle_is_read_or_refused(value, data):
    pickled = bytearray(pickle.dumps(value, 4))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(pickled) - 1))
        pickled[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RefusedError):
        read(bytes(pickled[: data.draw(st.integers(0, len(pickled)))]))


def test_printable_names_are_short_and_on_one_line():
    assert printable("layer1.0.conv1.weight") == "layer1.0.conv1.weight"
    assert printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert len(printable("a" * 10_000)) == 120
    assert printable((1, 2)) == "?"
    assert printable(7) == "7"
