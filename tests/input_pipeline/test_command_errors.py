"""How a command ends: one line and a status."""

import signal

import pytest

from input_pipeline.command_errors import one_line_errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_a_library_turns_into_its_own_error_is_a_signal(number, status, capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background: ignored
    try:
        with pytest.raises(SystemExit) as ended, one_line_errors("go on"):
            try:
                signal.raise_signal(number)
            except BaseException as error:
                raise ValueError("not a valid buffer format string") from error
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == status
    assert capsys.readouterr().err == "error: interrupted; go on\n"


@pytest.mark.parametrize("name", ["night.edf", "night.edf/out", "night.edf/out/a"])
def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path, capsys, name):
    (tmp_path / "night.edf").touch()
    with pytest.raises(SystemExit, match="1"), one_line_errors():
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    assert capsys.readouterr().err == "error: night.edf is a file; expected a folder\n"


def test_a_folder_that_is_there_already_is_a_bug(tmp_path):
    with pytest.raises(FileExistsError), one_line_errors():
        tmp_path.mkdir()


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        try:
            raise KeyError("x")
        except KeyError as error:
            raise ZeroDivisionError from error
