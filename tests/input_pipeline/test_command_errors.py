"""How a command ends: one line and a status."""

import signal

import pytest

from input_pipeline.command_errors import one_line_errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_a_library_turns_into_its_own_error_is_a_signal(number, status, capsys):
    with pytest.raises(SystemExit) as ended, one_line_errors("go on"):
        try:
            signal.raise_signal(number)
        except BaseException as error:
            raise ValueError("not a valid buffer format string") from error
    assert ended.value.code == status
    assert capsys.readouterr().err == "error: interrupted; go on\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        try:
            raise KeyError("x")
        except KeyError as error:
            raise ZeroDivisionError from error
