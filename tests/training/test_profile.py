"""A trace of some steps, written where it says."""

import jax.numpy as jnp
import pytest

from input_pipeline.errors import UserError
from sacd_jax.training.profile import Profile, Steps


@pytest.mark.parametrize("text", ["", "5", "0:1", "5:0", "5:-1", "a:b", "5:1:2", "5:100000"])
def test_anything_but_two_numbers_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--profile: expected FIRST:COUNT"):
        Steps.read(text)


def test_the_steps_that_were_asked_for_are_traced(tmp_path, capsys) -> None:
    profile = Profile(Steps.read("2:2"), tmp_path / "profile", "sacd")
    for step in range(1, 5):
        profile.before(step)
        profile.after(step, jnp.ones(3) * step)
        assert bool(list(tmp_path.rglob("*.xplane.pb"))) == (step >= 3)
    profile.close()
    said = capsys.readouterr().err
    assert said.startswith("profile sacd: steps 2 to 3 in ") and said.count("\n") == 1


def test_a_training_that_ends_within_them_leaves_what_there_is(tmp_path, capsys) -> None:
    profile = Profile(Steps(1, 9), tmp_path, "sacd")
    profile.before(1)
    profile.after(1, jnp.ones(3))
    profile.close()
    assert "steps 1 to 1" in capsys.readouterr().err and list(tmp_path.rglob("*.xplane.pb"))


def test_without_steps_nothing_is_written(tmp_path) -> None:
    profile = Profile(None, tmp_path, "sacd")
    profile.before(1)
    profile.after(1, None)
    profile.close()
    assert list(tmp_path.iterdir()) == []
