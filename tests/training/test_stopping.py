"""A run stops at the end of a step; a second signal does not wait for it."""

import os
import signal

import pytest

from sacd_jax.training.stopping import stop_request


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_second_interrupts(number, capsys):
    before = signal.getsignal(number)
    with stop_request() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert "saving the state" in capsys.readouterr().err
