"""The Slurm script under stand-ins for `srun` and `scontrol`, with Slurm's variables."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

TRAIN = ["train", "--config", "configs/demo.py", "--workdir", "a folder"]

# Plays srun: the tasks of a step on this machine, signals handed on, the highest code at the end.
SRUN = """#!/bin/bash
tasks=$SLURM_NTASKS
while [[ $1 == --* ]]; do
  case $1 in --ntasks=*) tasks=${1#*=} ;; esac
  shift
done
export SLURM_NTASKS=$tasks SLURM_STEP_NODELIST=127.0.0.1 SLURM_STEP_NUM_NODES=1 SLURM_NODEID=0
for ((task = 0; task < tasks; task++)); do
  SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
  pids+=($!)
done
trap 'kill -TERM "${pids[@]}"' TERM
highest=0
for pid in "${pids[@]}"; do
  while code=0; wait "$pid" || code=$?; kill -0 "$pid" 2>/dev/null; do :; done
  if ((code > highest)); then highest=$code; fi
done
exit $highest
"""
SCONTROL = '#!/bin/bash\necho "$*" >>"$REQUEUED"\n'
JOINED = """
import jax
from sacd_jax import parallel
parallel.initialize()
print(jax.process_index(), "of", jax.process_count(), flush=True)
parallel.wait_for_all("end")
"""


class Cluster:
    """A folder with Slurm's commands and an interpreter, and a job's variables."""

    def __init__(self, folder: Path, root: Path):
        self.folder, self.root = folder, root
        self.requeued = folder / "requeued"
        self._program("srun", SRUN)
        self._program("scontrol", SCONTROL)

    def _program(self, name: str, text: str) -> Path:
        file = self.folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return file

    def start(
        self, *arguments: str, python: str = "", log: IO[str] | None = None, **variables: str
    ) -> subprocess.Popen[str]:
        """Starts the script; `python` is what the interpreter does in place of the command, `log`
        takes all that is said."""
        interpreter = self._program("interpreter", f"#!/bin/bash\n[[ $1 == -c ]] && exit\n{python}")
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "PYTHON": str(interpreter),
            "REQUEUED": str(self.requeued),
            "SLURM_SUBMIT_DIR": str(self.root),
            "SLURM_JOB_ID": str(os.getpid()),
            "SLURM_NNODES": "1",
            "SLURM_NTASKS": "1",
            **variables,
        }
        return subprocess.Popen(
            ["bash", str(self.root / "launch/slurm.sbatch"), *arguments],
            cwd=self.folder,
            env={name: value for name, value in environment.items() if value},
            stdout=log or subprocess.PIPE,
            stderr=log or subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, python: str = "", **variables: str) -> tuple[int, str, str]:
        process = self.start(*arguments, python=python, **variables)
        output, errors = process.communicate(timeout=300)
        return process.returncode, output, errors


@pytest.fixture
def cluster(tmp_path: Path, root: Path) -> Cluster:
    return Cluster(tmp_path, root)


def test_every_task_runs_the_command(cluster: Cluster) -> None:
    code, output, _ = cluster.run(*TRAIN, python='echo "$SLURM_PROCID $*"', SLURM_NTASKS="2")
    words = "-m sacd_jax.train --config configs/demo.py --workdir a folder"
    assert (code, sorted(output.splitlines())) == (0, [f"0 {words}", f"1 {words}"])
    assert not cluster.requeued.exists()


def test_tasks_find_each_other_by_slurms_variables(cluster: Cluster) -> None:
    (cluster.folder / "joined.py").write_text(JOINED)
    program = f'exec {sys.executable} "{cluster.folder}/joined.py"'
    variables = {"SLURM_NTASKS": "2", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(cluster.root)}
    code, output, errors = cluster.run(*TRAIN, python=program, **variables)
    assert code == 0, errors
    lines = [line for line in output.splitlines() if " of 2" in line]
    assert sorted(lines) == ["0 of 2", "1 of 2"]


@pytest.mark.parametrize(
    ("program", "restarts", "code", "again"),
    [
        ("exit 75", "", 75, True),
        ("((SLURM_PROCID)) && kill -KILL $$; exit 75", "", 137, True),
        ("exit 75", "20", 75, False),
        ("exit 1", "", 1, False),
        ("exit 143", "", 143, False),
    ],
)
def test_what_may_succeed_again_is_queued_again(cluster, program, restarts, code, again) -> None:
    variables = {"SLURM_NTASKS": "2", "SLURM_RESTART_COUNT": restarts}
    assert cluster.run(*TRAIN, python=program, **variables)[0] == code
    assert cluster.requeued.exists() == again
    if again:
        assert cluster.requeued.read_text() == f"requeue {os.getpid()}\n"


def test_before_the_time_limit_it_saves_and_is_queued_again(cluster: Cluster) -> None:
    program = 'trap "echo saved; exit 143" TERM; echo up; while :; do sleep 0.05; done'
    process = cluster.start(*TRAIN, python=program)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGUSR1)
    output, _ = process.communicate(timeout=300)
    assert (process.returncode, output) == (143, "saved\n")
    assert cluster.requeued.exists()


def test_a_sweep_takes_its_share_from_the_array(cluster: Cluster) -> None:
    array = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "12"}
    code, output, _ = cluster.run("sweep", "--workdir", "w", python='echo "$*"', **array)
    assert (code, output) == (0, "-m sacd_jax.sweep --workdir w --index 3 --of 12\n")
    code, _, errors = cluster.run("sweep", "--workdir", "w", **array, SLURM_ARRAY_TASK_MIN="1")
    assert code == 2 and "begins at 0" in errors


def test_data_are_copied_and_their_digests_checked(cluster: Cluster) -> None:
    cluster._program("rsync", '#!/bin/bash\ncp -R "$2." "$3"\n')
    shared, local = cluster.folder / "shared", cluster.folder / "local"
    shared.mkdir()
    (shared / "shard").write_text("frames")
    subprocess.run("sha256sum shard > SHA256SUMS", shell=True, cwd=shared, check=True)
    folders = {"SHARED_DATA": str(shared), "LOCAL_DATA": str(local)}
    code, output, errors = cluster.run(*TRAIN, python='echo "$*"', **folders)
    assert (code, output.endswith(f"--data_dir {local}\n")) == (0, True), errors
    assert (local / "shard").read_text() == "frames"
    (shared / "shard").write_text("framed")
    code, output, errors = cluster.run(*TRAIN, python="echo never", **folders)
    assert code == 2 and "never" not in output
    assert "the copy in LOCAL_DATA differs from SHARED_DATA/SHA256SUMS" in errors


def test_each_node_copies_its_shares_and_the_training_knows(cluster: Cluster) -> None:
    folders = {"SHARED_DATA": "/s", "LOCAL_DATA": "/l", "DATA_SHARES": "4"}
    code, output, errors = cluster.run(*TRAIN, python='echo "$*"', **folders)
    copy, train = output.splitlines()
    assert code == 0, errors
    assert copy.endswith("copy_share --data /s --out /l --shares 4 --index 0 --of 1")
    assert train.endswith("--config.data_shares=4 --data_dir /l")


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        ([], {}, "usage: sbatch"),
        (["trian"], {}, "usage: sbatch"),
        (TRAIN, {"SLURM_JOB_ID": ""}, "SLURM_JOB_ID"),
        (TRAIN, {"SLURM_SUBMIT_DIR": "/"}, "not the repository's folder"),
        (TRAIN, {"LOCAL_DATA": "/tmp/none"}, "SHARED_DATA"),
        (TRAIN, {"MAX_RESTARTS": "many"}, "MAX_RESTARTS is no number"),
        (TRAIN, {"PYTHON": "/no/python"}, "/no/python does not run"),
        (["sweep"], {}, "a sweep is an array job"),
        (TRAIN, {"LOCAL_DATA": "/l", "SHARED_DATA": "/s", "DATA_SHARES": "no"}, "no multiple of"),
        (["evaluate"], {"LOCAL_DATA": "/l", "SHARED_DATA": "/s"}, "for train and sweep alone"),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(cluster, arguments, variables, message):
    code, output, errors = cluster.run(*arguments, python="echo never", **variables)
    assert code in (1, 2) and output == ""
    assert message in errors


def test_a_dry_run_needs_no_slurm_and_prints_what_would_run(cluster: Cluster) -> None:
    nothing = dict.fromkeys(["SLURM_JOB_ID", "SLURM_NNODES", "SLURM_NTASKS"], "")
    data = {"SHARED_DATA": "/s", "LOCAL_DATA": "/l"}
    code, output, _ = cluster.run("--dry-run", *TRAIN, python="echo never", **nothing, **data)
    copy, train = output.splitlines()
    assert code == 0
    assert copy.startswith("srun --nodes=1 --ntasks=1 --ntasks-per-node=1 bash -c ")
    assert train.startswith("srun --kill-on-bad-exit=0 ")
    assert "-m sacd_jax.train --config configs/demo.py --workdir a\\ folder --data_dir /l" in train
