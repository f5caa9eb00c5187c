"""The shapes and types that public functions promise are true, in every encoder and objective."""

import pytest

from sacd_jax import models, objectives


@pytest.mark.slow
def test_encoders_keep_their_shapes(run_python) -> None:
    result = run_python("tests.shapes", "encoders", devices=1)
    assert result.stdout.split() == list(models.available())


def test_objectives_keep_their_shapes(run_python) -> None:
    result = run_python("tests.shapes", "objectives", devices=1)
    assert result.stdout.split() == list(objectives.available())


def test_a_broken_promise_is_noticed(run_python) -> None:
    result = run_python("tests.shapes", "broken", devices=1, check=False)
    assert result.returncode != 0
    assert "jaxtyping.TypeCheckError" in result.stderr
