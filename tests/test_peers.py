"""Lost processes are named by the others; those that go on, or left in good order, are not."""

import socket
import threading

import pytest

from sacd_jax.peers import Peers


class Store:
    """In place of JAX's; falls silent, as process 0 does when it is lost."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.silent = False

    def key_value_set(self, key: str, value: str, allow_overwrite: bool) -> None:
        if self.silent:
            raise ValueError("UNAVAILABLE")
        self.values[key] = value

    def key_value_dir_get(self, key: str) -> list[tuple[str, str]]:
        if self.silent:
            raise ValueError("UNAVAILABLE")
        return list(self.values.items())


class Three:
    """Three processes, second by second, and how they end."""

    def __init__(self) -> None:
        self.now, self.store = 0.0, Store()
        self.ends: dict[int, tuple[str, int]] = {}
        self.there = {number: self._peers(number) for number in range(3)}

    def _peers(self, number: int) -> Peers:
        def end(message: str, code: int) -> None:
            self.ends[number] = (message, code)
            self.there.pop(number, None)

        return Peers(
            self.store,
            number,
            3,
            goes_on=lambda: "go on",
            end=end,
            clock=lambda: self.now,
        )

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.now += 1
            for each in list(self.there.values()):
                each.speak()
                each.listen()
            for each in list(self.there.values()):
                each.judge()

    def lose(self, number: int) -> Peers:
        return self.there.pop(number)


@pytest.fixture
def three() -> Three:
    three = Three()
    three.pass_time(100)
    assert three.ends == {}
    return three


def test_a_process_that_falls_silent_is_named_by_all_others(three):
    three.lose(1)
    three.pass_time(59)
    assert three.ends == {}
    three.pass_time(3)
    ended = ("process 1 was lost, last heard of 61 s ago; go on", 75)
    assert three.ends == {0: ended, 2: ended}


def test_without_process_0_nobody_is_heard_and_it_alone_is_named(three):
    three.lose(0)
    three.store.silent = True
    three.pass_time(62)
    ended = ("process 0 was lost, last heard of 61 s ago; go on", 75)
    assert three.ends == {1: ended, 2: ended}


def test_an_error_in_a_common_computation_waits_for_whose_fault_it_is(three):
    three.lose(2)
    three.there[0].blame(lambda _: three.pass_time(1))
    assert three.ends == {0: ("process 2 was lost, last heard of 7 s ago; go on", 75)}


def test_an_error_of_our_own_is_nobody_elses(three):
    three.there[0].blame(lambda _: three.pass_time(1))
    assert three.ends == {}


def test_processes_may_leave_together_but_not_alone(three):
    three.lose(1).leave(1)
    three.pass_time(20)
    assert three.ends == {}
    three.lose(2).leave(0)
    three.pass_time(1)
    assert three.ends == {0: ("process 1 ended before the others; its own last line says why", 1)}


def test_who_waits_for_an_interrupted_process_ends_as_it_did(three):
    three.lose(1).leave(143)
    three.pass_time(21)
    ended = ("process 1 was interrupted; go on", 143)
    assert three.ends == {0: ended, 2: ended}


ABORTS = """
import os, sys
from input_pipeline.command_errors import one_line_errors
from sacd_jax import peers
from tests.test_peers import Store
peers._DYING_SECONDS = int(sys.argv[2])
if sys.argv[4:]:
    try:
        with one_line_errors():
            raise KeyboardInterrupt
    except SystemExit:
        pass
peers.watch(Store(), int(sys.argv[3]), 2, sys.argv[1])
os.abort()
"""


def test_an_abort_without_process_0_is_explained_and_any_other_stays_one(run_python):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert run_python(ABORTS, address, "1", "1", check=False).returncode == -6
        threading.Thread(target=_close_when_called, args=(server,)).start()
        ended = run_python(ABORTS, address, "60", "1", check=False)  # process 0 is about to die
    assert ended.returncode == 75
    assert ended.stderr == (
        "error: process 0 was lost, last heard of 0 s ago; the same command goes on\n"
    )


@pytest.mark.parametrize("process", ["0", "1"])
def test_an_abort_after_the_last_word_keeps_its_exit_status(run_python, process):
    ended = run_python(ABORTS, "127.0.0.1:1", "1", process, "interrupted", check=False)
    assert ended.returncode == 130 and len(ended.stderr.splitlines()) == 1


ALONE = """
import os, jax
from sacd_jax import parallel
os.environ |= {"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}
os.environ["JAX_COORDINATOR_ADDRESS"] = "127.0.0.1:1"
initialize = jax.distributed.initialize
jax.distributed.initialize = lambda **how: initialize(**how, initialization_timeout=1)
parallel.initialize()
"""


def test_a_process_that_finds_no_process_0_is_to_be_started_again(run_python):
    ended = run_python(ALONE, check=False)
    assert ended.returncode == 75
    said = "error: the other processes did not answer in time; the same command goes on"
    assert ended.stderr.splitlines()[-1] == said


NOT_MET = """
from sacd_jax import peers
from tests.test_peers import Store
peers.watch(Store(), 1, 2, "127.0.0.1:1")
raise RuntimeError("UNKNOWN: Gloo context initialization failed: DEADLINE_EXCEEDED: GetKeyValue()")
"""


def test_processes_that_do_not_meet_in_time_are_to_be_started_again(run_python):
    ended = run_python(NOT_MET, check=False)
    assert ended.returncode == 75
    assert ended.stderr == (
        "error: the other processes did not answer in time; the same command goes on\n"
    )


def _close_when_called(server):
    server.accept()[0].close()
    server.close()
