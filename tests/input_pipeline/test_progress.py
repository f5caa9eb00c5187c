"""Progress away from a terminal: plain lines with a rate, none of them twice."""

from input_pipeline import progress
from input_pipeline.progress import Progress


def test_plain_lines(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with Progress("decode nights", total=4, unit="night", start=1) as shown:
        for seconds in (1.0, 15.0, 15.0):  # a line is due with the second and the last night
            now[0] += seconds
            shown.advance(note="loss 1")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "decode nights: 3/4 nights, 0.125 nights/s, 8 s left, loss 1",
        "decode nights: 4/4 nights, 0.0968 nights/s, loss 1",
    ]


def test_an_error_ends_without_a_last_line(capsys):
    try:
        with Progress("decode nights", total=4, unit="night") as shown:
            shown.advance()
            raise ValueError
    except ValueError:
        pass
    assert capsys.readouterr().err == ""
