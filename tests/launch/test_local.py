"""The launcher of several processes on one machine: what they are told, and how they end."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments: str) -> subprocess.Popen[str]:
    # Tests that run in the background of a shell have SIGINT ignored, which no script can undo.
    command = ["env", "--default-signal=INT", "bash", str(ROOT / "launch/local.sh"), *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=kept, start_new_session=True
    )


def run(*arguments: str) -> tuple[int, str, str]:
    process = start(*arguments)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def test_every_process_knows_its_number_and_where_to_meet() -> None:
    words = "$JAX_PROCESS_ID $JAX_NUM_PROCESSES $JAX_COORDINATOR_ADDRESS $JAX_PLATFORMS $0 $1"
    code, output, _ = run("3", "--", "sh", "-c", f'echo "{words}"', "a b", "c")
    assert code == 0
    lines = sorted(line.split(" ", 3) for line in output.splitlines())
    assert [line[:2] for line in lines] == [["0", "3"], ["1", "3"], ["2", "3"]]
    (address,) = {line[2] for line in lines}
    assert address.startswith("127.0.0.1:") and 20000 <= int(address.split(":")[1]) < 32000
    assert {line[3] for line in lines} == {"cpu a b c"}


@pytest.mark.parametrize("arguments", [[], ["2"], ["2", "--"], ["0", "--", "true"], ["2", "true"]])
def test_without_a_number_or_a_command_it_says_how_it_is_called(arguments) -> None:
    code, _, errors = run(*arguments)
    assert code == 2
    assert errors.startswith("error: usage: bash launch/local.sh PROCESSES -- COMMAND")


def test_one_that_fails_stops_the_others_and_names_the_exit_code() -> None:
    began = time.monotonic()
    script = 'if [ "$JAX_PROCESS_ID" = 1 ]; then exit 7; fi; exec sleep 60'
    code, _, errors = run("3", "--", "sh", "-c", script)
    assert code == 7 and time.monotonic() - began < 20
    assert errors.count("ended with 7, stopping the others") == 1


def test_one_that_is_killed_is_named_and_the_code_asks_for_another_start() -> None:
    script = 'if [ "$JAX_PROCESS_ID" = 1 ]; then kill -KILL $$; fi; exec sleep 60'
    code, _, errors = run("2", "--", "sh", "-c", script)
    assert code == 75
    assert "process 1 was lost (signal 9); the same command goes on from the last" in errors


def test_nothing_outlives_it() -> None:
    script = 'trap "exit 130" TERM; echo up; while :; do sleep 0.05; done'
    process = start("1", "--", "sh", "-c", script)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)  # would wait for a child that holds the output open
    group = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True)
    assert group.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_reaches_every_process_once_and_waits_for_it(number) -> None:
    script = 'trap "echo stopped; exit 130" TERM; echo up; while :; do sleep 0.05; done'
    process = start("2", "--", "bash", "-c", script)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["up\n"] * 2
    process.send_signal(number)
    try:
        output, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert (process.returncode, output) == (130, "stopped\n" * 2)
