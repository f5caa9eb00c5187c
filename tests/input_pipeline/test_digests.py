"""What was written is read back, and anything else is refused in one line."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_pipeline.digests import (
    check_file,
    file_digest,
    read_verified_json,
    write_verified_json,
)
from input_pipeline.errors import UserError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
VALUE = {"rows": 12, "names": ("a", "b"), "share": 0.1, "ends": {3: None}}


def read(path, **changes):
    return read_verified_json(path, **{"what": "state", "mend": "delete it", **changes})


@given(value=st.dictionaries(st.text().filter(lambda key: key != "digest"), JSON, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_values_come_back_as_json_has_them(tmp_path, value):
    write_verified_json(tmp_path / "state.json", value)
    assert read(tmp_path / "state.json") == value


def test_every_flipped_bit_that_changes_a_value_is_seen(tmp_path):
    path = tmp_path / "state.json"
    write_verified_json(path, VALUE)
    data, expected = path.read_bytes(), read(path)
    for position in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            assert read(path) == expected  # white space alone
        except UserError as error:
            assert str(error).startswith(f"state {path}") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not a JSON object; delete it"),
        (b"[1]", "not a JSON object; delete it"),
        (b'{"rows": NaN, "digest": "0"}', "not a JSON object; delete it"),
        (b"[" * 100_000, "not a JSON object; delete it"),
        (b'{"rows": ' + b"7" * 9999 + b"}", "not a JSON object; delete it"),
        (b'{"rows": "\xe9"}', "line 1: not text in UTF-8"),
        (b'{"rows": 12}', "has no digest"),
        (b'{"rows": 12, "digest": 3}', "is damaged or was changed"),
    ],
)
def test_what_is_no_such_file_is_one_line(tmp_path, text, said):
    path = tmp_path / "state.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=said) as raised:
        read(path)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 300


def test_a_file_made_by_hand_needs_no_digest_but_must_keep_one_that_it_has(tmp_path):
    path = tmp_path / "state.json"
    path.write_text('{"rows": 12}')
    assert read(path, by_hand=True) == {"rows": 12}
    write_verified_json(path, {"rows": 12})
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rows": 13}))
    with pytest.raises(UserError, match="was changed"):
        read(path, by_hand=True)


def test_other_files_are_compared_with_what_was_noted(tmp_path):
    path = tmp_path / "rows.npy"
    path.write_bytes(bytes(1000))
    digest = file_digest(path)
    words = {"what": "cache", "mend": "delete it"}
    check_file(path, digest, **words)
    for digest_noted in (None, digest[:-1]):
        with pytest.raises(UserError, match=r"cache .*rows.npy: is damaged or was changed"):
            check_file(path, digest_noted, **words)
    path.write_bytes(bytes(999) + b"\1")
    with pytest.raises(UserError, match="its digest differs.; delete it"):
        check_file(path, digest, **words)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        check_file(path, digest, **words)
