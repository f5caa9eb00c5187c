"""One reader for all text files, and one process at a time in a folder."""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from input_pipeline.errors import UserError
from input_pipeline.files import mine_alone, only_results, read_text, whole_file


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


IN_ANOTHER_LOCALE = r"""
import sys
from input_pipeline.command_errors import one_line_errors
from input_pipeline.files import write_csv
with one_line_errors():
    write_csv(sys.argv[1], ["video"], [["Schl\u00e4fer \u2212.mp4"]])
    print("kappa \u22120.5")
"""


def test_files_and_tables_where_the_locale_is_not_utf_8(tmp_path):
    own = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", IN_ANOTHER_LOCALE, str(tmp_path / "t.csv")]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "kappa \\u22120.5\n")
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == "video\nSchläfer −.mp4\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_exports_of_any_program(tmp_path, encoding):
    (tmp_path / "t").write_bytes("Éveil\r\nN1\n".encode(encoding))
    assert read_text(tmp_path / "t", "it", any_encoding=True) == "Éveil\r\nN1\n"


@pytest.mark.parametrize("raw", [b"a\0b", b"\xff\xfea"])
def test_what_is_no_text_in_any_encoding(tmp_path, raw):
    (tmp_path / "t").write_bytes(raw)
    with pytest.raises(UserError, match="^it.*not (a )?text"):
        read_text(tmp_path / "t", "it", any_encoding=True)


def test_what_a_killed_process_left_is_removed_and_no_file_in_writing(tmp_path, capfd):
    (tmp_path / ".unfinished-0a-report.html").write_text("half")

    def write() -> None:
        with only_results(tmp_path):
            assert not list(tmp_path.glob(".unfinished-*"))
            with whole_file(tmp_path / "table.md") as temporary:
                temporary.write_text("whole")

    with ThreadPoolExecutor() as pool:
        with only_results(tmp_path), whole_file(tmp_path / "report.html") as temporary:
            temporary.write_text("whole")
            other = pool.submit(write)
            while "waiting for another process" not in capfd.readouterr().err:
                time.sleep(0.01)
        other.result()
    assert {path.name for path in tmp_path.iterdir()} == {
        *("report.html", "table.md", ".results.lock")
    }


def test_a_second_process_is_told_who_is_there(tmp_path, run_python):
    code = """
import sys
from input_pipeline.files import mine_alone
with mine_alone(sys.argv[1], "runs/a"):
    print("alone")
"""
    lock = tmp_path / "runs" / ".lock"
    for _ in range(2):
        with mine_alone(lock, "runs/a"):
            here = f"runs/a is in use by process {os.getpid()} on {socket.gethostname()}; wait"
            result = run_python(code, str(lock), check=False, devices=1)
            assert result.returncode == 1 and here in result.stderr
            lock.write_text("Jane Doe\n\n")
            assert "Jane" not in run_python(code, str(lock), check=False, devices=1).stderr
    assert run_python(code, str(lock), devices=1).stdout == "alone\n"
