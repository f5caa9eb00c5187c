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
        ("large", "larger than .* MB; expected a text file"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, said):
    (tmp_path / "latin").write_bytes(b"a\nb\xe4\n")
    (tmp_path / "large").write_bytes(bytes(1100))
    with pytest.raises(UserError, match=f"^it.*{said}") as raised:
        read_text(tmp_path / name, "it", most_bytes=1024)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_exports_of_any_program(tmp_path, encoding):
    (tmp_path / "t").write_bytes("Éveil\r\nN1\n".encode(encoding))
    assert read_text(tmp_path / "t", "it", any_encoding=True) == "Éveil\r\nN1\n"


@pytest.mark.parametrize("raw", [b"a\0b", b"\xff\xfea"])
def test_what_is_no_text_in_any_encoding(tmp_path, raw):
    (tmp_path / "t").write_bytes(raw)
    with pytest.raises(UserError, match="^it.*not (a )?text"):
        read_text(tmp_path / "t", "it", any_encoding=True)
