"""The TPU scripts under stand-ins for `gcloud` and for the metadata server."""

import os
import subprocess
from pathlib import Path

import pytest

WORDS = {
    "NAME": "sacd",
    "ZONE": "zone-a",
    "TYPE": "v5litepod-16",
    "RUNTIME": "runtime",
    "REPOSITORY": "https://example.org/sacd.git",
    "REVISION": "main",
    "SETUP": "true",
}
TRAIN = ["train", "--workdir", "/shared/a run"]

# The slice is there after it was created; the training ends with the codes of $CODES, one by one.
GCLOUD = """#!/bin/bash
echo "$*" >>"$LOG"
case "$*" in
  *describe*) grep -q " create " "$LOG" && echo "${STATE:-ACTIVE}" ;;
  *launch/setup.sh*) last=${*: -1}; [[ -z ${RUN:-} ]] || bash -c "${last#--command=}" ;;
  *tpu_worker*) read -r code rest <"$CODES"; echo "$rest" >"$CODES"; exit "$code" ;;
esac
"""
CURL = """#!/bin/bash
case "${*: -1}" in
  */worker-network-endpoints) echo "$ENDPOINTS" ;;
  */agent-worker-number) echo "$NUMBER" ;;
esac
"""


def run(folder: Path, script: Path, *arguments: str, **variables: str):
    for name, text in (("gcloud", GCLOUD), ("curl", CURL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "LOG": str(folder / "log"),
        "CODES": str(folder / "codes"),
        **variables,
    }
    (folder / "log").touch()
    return subprocess.run(
        ["bash", str(script), *arguments],
        env={name: value for name, value in environment.items() if value},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("codes", "status", "starts"),
    [("0", 0, 1), ("75 137 0", 0, 3), ("1", 1, 1), ("75 75 75", 75, 3)],
)
def test_it_starts_again_what_lost_a_host(root: Path, tmp_path: Path, codes, status, starts):
    (tmp_path / "codes").write_text(codes)
    script = root / "launch/tpu_vm.sh"
    result = run(tmp_path, script, *TRAIN, **WORDS, MAX_RESTARTS="2")
    log = (tmp_path / "log").read_text()
    assert (result.returncode, log.count("tpu_worker")) == (status, starts), result.stderr
    assert log.count("queued-resources create sacd") == 1
    assert "tpu_worker.sh .venv/bin/python -m sacd_jax.train --workdir /shared/a\\ run" in log
    assert "queued-resources delete sacd --zone=zone-a --force" in result.stderr


@pytest.mark.parametrize("setup", ["false && true", "false; true", "cd / && exit 3"])
def test_what_fails_in_setup_ends_it(root: Path, tmp_path: Path, setup: str) -> None:
    script, words = root / "launch/tpu_vm.sh", WORDS | {"SETUP": setup}
    result = run(tmp_path, script, *TRAIN, **words, RUN="1", HOME=str(tmp_path))
    assert result.returncode in (1, 3), result.stderr
    assert "sacd_jax" not in result.stderr and "tpu_worker" not in (tmp_path / "log").read_text()


def test_a_slice_that_was_taken_away_is_said(root: Path, tmp_path: Path) -> None:
    result = run(tmp_path, root / "launch/tpu_vm.sh", *TRAIN, **WORDS, STATE="SUSPENDED")
    assert result.returncode == 2 and "the queued resource is SUSPENDED" in result.stderr


def test_a_dry_run_prints_every_command_and_calls_none(root: Path, tmp_path: Path) -> None:
    script = root / "launch/tpu_vm.sh"
    result = run(tmp_path, script, "--dry-run", *TRAIN, **WORDS, SPOT="1")
    create, set_up, train = result.stdout.splitlines()
    assert (result.returncode, (tmp_path / "log").read_text()) == (0, "")
    assert create.startswith("gcloud compute tpus queued-resources create sacd --node-id=sacd ")
    assert create.endswith("--accelerator-type=v5litepod-16 --runtime-version=runtime --spot ")
    assert all("tpu-vm ssh sacd --zone=zone-a --worker=all" in line for line in (set_up, train))


@pytest.mark.parametrize("name", WORDS)
def test_what_is_missing_is_said(root: Path, tmp_path: Path, name: str) -> None:
    result = run(tmp_path, root / "launch/tpu_vm.sh", "--dry-run", *TRAIN, **(WORDS | {name: ""}))
    assert (result.returncode, result.stdout) == (2, "")
    assert f"{name} is not set" in result.stderr


@pytest.mark.parametrize(
    ("endpoints", "number", "expected"),
    [
        ("10.0.0.1,10.0.0.2", "1", "10.0.0.1:8476 2 1"),
        ("a:0:10.0.0.1,b:1:10.0.0.2", "0", "10.0.0.1:8476 2 0"),
        ("10.0.0.1", "0", ""),  # alone
    ],
)
def test_a_host_learns_who_belongs_together(root, tmp_path, endpoints, number, expected) -> None:
    words = "echo $JAX_COORDINATOR_ADDRESS $JAX_NUM_PROCESSES $JAX_PROCESS_ID"
    where = {"ENDPOINTS": endpoints, "NUMBER": number}
    result = run(tmp_path, root / "launch/tpu_worker.sh", "sh", "-c", words, **where)
    assert (result.returncode, result.stdout.strip()) == (0, expected)


def test_a_host_that_is_told_nonsense_runs_nothing(root: Path, tmp_path: Path) -> None:
    where = {"ENDPOINTS": "10.0.0.1,10.0.0.2", "NUMBER": "2"}
    result = run(tmp_path, root / "launch/tpu_worker.sh", "echo", "never", **where)
    assert (result.returncode, result.stdout) == (2, "")
