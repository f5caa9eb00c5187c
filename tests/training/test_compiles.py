"""Programs are counted as JAX compiles them."""

import jax

from sacd_jax.training.compiles import Compiles, counted


def test_every_program_is_counted_once() -> None:
    found = counted()
    assert counted() is found
    before = found.programs
    double = jax.jit(lambda x: x * 2 + 0.1234)
    double(3.0)
    assert found.programs == before + 1 and found.seconds > 0
    double(4.0)
    assert found.programs == before + 1
    assert Compiles(3, 2, 1.25).words() == "3 programs in 1.2 s, 2 from the cache"
