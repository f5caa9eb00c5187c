"""Damaged inputs end in one line, in bounded time and memory, and show nobody's name."""

import os

import numpy as np
import pytest

from input_pipeline.errors import UserError
from tests.torture import targets
from tests.torture.__main__ import main
from tests.torture.damage import KINDS, MOST_BYTES, damage
from tests.torture.fuzz import Target, fuzz, fuzz_all
from tests.torture.planted import WORDS, leaks

_WHOLE = b"whole" * 20


def _make(folder):
    (folder / "a.txt").write_bytes(_WHOLE)
    return [folder / "a.txt"]


def _harm(what):
    """A reader that does it with every damaged file."""

    def read(path):
        if path.read_bytes() == _WHOLE:
            return [], "truth"
        if what == "refuse":
            raise UserError("night n: damaged")
        if what == "tell":
            raise UserError(f"night n: found {WORDS[0][1:8].upper()}")
        if what == "note":
            return [f"born {WORDS[3]}"], "truth"
        if what == "wait":
            while True:
                pass
        if what == "two lines":
            return ["one\ntwo"], "truth"
        if what == "change":
            return [], "lie"
        if what == "set aside":
            path.rename(path.with_name("aside"))
        if what == "library":
            os.write(2, WORDS[1].encode())
        if what == "stop":
            os._exit(7)
        return ([][1] if what == "crash" else []), "truth"

    return read


TARGETS = tuple(Target(what, _make, _harm(what)) for what in ("read", "refuse", "stop", "crash"))


@pytest.mark.parametrize(
    ("what", "failure"),
    [
        ("read", None),
        ("refuse", None),
        ("tell", "'uxemb'"),
        ("note", "'1931-'"),
        ("wait", "not done after 0.2 s"),
        ("two lines", "several lines"),
        ("library", "on the standard error"),
        ("crash", "IndexError at test_fuzz.py"),
        ("change", "changed"),
        ("set aside", None),
    ],
)
def test_what_must_not_happen_is_counted(what, failure):
    target = Target(what, _make, _harm(what), wrong=lambda a, b: "changed" * (a != b))
    outcome = fuzz(target, range(2), seed=0, max_seconds=0.2)
    assert outcome.inputs == 2
    assert bool(outcome.failures) == bool(failure)
    assert all(failure in line for line in outcome.failures)


@pytest.mark.slow
def test_a_process_that_dies_is_a_failure_of_its_inputs_alone():
    outcomes = fuzz_all(TARGETS, 40, module=__name__)
    assert [len(outcomes[name].failures) for name in ("read", "refuse", "stop", "crash")] == [
        *(0, 0, 1, 10)
    ]
    assert outcomes["stop"].failures == ["stop 0 to 9: the process died"]
    assert outcomes["read"].read == outcomes["refuse"].refused == 10


def test_damage_is_bounded_repeats_itself_and_is_of_every_kind():
    data = b"field,12,0.5\n" * 100
    made = [damage(np.random.default_rng([1, k]), data) for k in range(300)]
    assert made == [damage(np.random.default_rng([1, k]), data) for k in range(300)]
    assert len(set(made)) > 250 and max(map(len, made)) <= MOST_BYTES
    for kind in KINDS:
        assert all(isinstance(kind(np.random.default_rng(k), b""), bytes) for k in range(20))
        assert any(kind(np.random.default_rng(k), data) != data for k in range(20))
    assert sum(bool(leaks(each.decode("latin-1"))) for each in made) > 100


@pytest.mark.parametrize("target", targets.TARGETS, ids=lambda target: target.name)
def test_some_damaged_inputs(target):
    outcome = fuzz(target, range(40), seed=1)
    assert outcome.failures == []
    assert outcome.read + outcome.refused == 40


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_damaged_inputs(capsys):
    assert main(["--fuzz", "10000"]) == 0, capsys.readouterr().out
