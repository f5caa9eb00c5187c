"""Where a line of a text ends, in time in proportion to its length."""

import time

from input_pipeline.readers.hypnogram.lines import split_lines


def test_lines_end_as_any_system_ends_them():
    assert split_lines("W\nN1\r\nN2\r\r\n\rN3\r R \n") == ["W", "N1", "N2", "", "N3", "R", ""]


def test_a_megabyte_of_carriage_returns_takes_no_time():
    begun = time.process_time()
    assert len(split_lines("\r" * 1_000_000)) == 1_000_001
    assert time.process_time() - begun < 5
