"""One reader for all text files."""

import pytest

from input_pipeline.errors import UserError
from input_pipeline.files import read_text


def test_text_with_and_without_a_byte_order_mark(tmp_path):
    for start in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "t").write_bytes(start + "ä\r\nb".encode())
        assert read_text(tmp_path / "t", "it") == "ä\r\nb"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "no such file"),
        ("", "a folder; expected a file"),
        ("x" * 300, "cannot be read .File name too long"),
        ("x\0", "cannot be read"),
        ("latin", "line 2: not text in UTF-8"),
        ("large", "larger than 0.001 MB"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, said):
    (tmp_path / "latin").write_bytes(b"a\nb\xe4\n")
    (tmp_path / "large").write_bytes(bytes(1100))
    with pytest.raises(UserError, match=f"^it.*{said}") as raised:
        read_text(tmp_path / name, "it", most_bytes=2**20 // 1000)
    assert "\n" not in str(raised.value)
