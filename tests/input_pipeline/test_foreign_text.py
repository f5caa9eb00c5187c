"""Nothing of a foreign text is shown unless somebody asks to see it."""

import multiprocessing

import pytest

from input_pipeline.foreign_text import describe, values_shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing"),
        ("x", "1 character (letters)"),
        ("1961-05-07", "10 characters (digits, punctuation)"),
        ("Erika Mustermann", "16 characters (letters, spaces)"),
        ("Ä 7;\t", "5 characters (letters, digits, spaces, punctuation)"),
    ],
)
def test_kind_and_length_alone(text, said):
    assert describe(text) == said


def test_values_are_shown_on_request_and_in_other_processes():
    with values_shown():
        assert describe("Erika") == "'Erika'"
        assert len(describe("x" * 1000)) < 100
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(describe, ("Erika",)) == "'Erika'"
        with values_shown(False):
            assert "Erika" not in describe("Erika")
        assert describe("Erika") == "'Erika'"
    assert "Erika" not in describe("Erika")
