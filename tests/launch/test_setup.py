"""Set-up with interpreters and a pip that only play their part: nothing is loaded or installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = ["awk", "bash", "cat", "cp", "dirname", "find", "flock", "ls", "mkdir", "rm", "sha256sum"]

# Plays Python: says a version, makes a .venv with a copy of itself, and writes down what pip is
# asked for and given. It fails where $FAIL_AT is part of the command.
INTERPRETER = """#!/bin/bash
if [[ -n "${{FAIL_AT:-}}" && "$*" == *"$FAIL_AT"* ]]; then exit 7; fi
case "$*" in
  *--version*) echo "Python {version}" ;;
  *version_info*) echo $(( {major} * 100 + {minor} )) ;;
  "-m venv .venv") echo "venv {version}" >> "$LOG"; mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  "-m pip install"*)
    echo "pip ${{*:4}}" >> "$LOG"
    if [[ "$*" == */dev/stdin ]]; then cat > "$LOG.stdin"; fi
    ;;
esac
"""
BROKEN = "#!/bin/bash\necho 'python3.12: command not found' >&2\nexit 127\n"


class Machine:
    """A folder that plays a machine: repository, PATH with a few tools, log of what ran."""

    def __init__(self, folder: Path, root: Path):
        self.repository, self.bin = folder / "clone", folder / "bin"
        self.pyenv, self.log = folder / "pyenv", folder / "log"
        (self.repository / "launch").mkdir(parents=True)
        shutil.copy(root / "launch" / "setup.sh", self.repository / "launch")
        self.write(self.repository / "pyproject.toml", "[project]\n")
        self.write(
            self.repository / "requirements.txt",
            "other==1 \\\n    --hash=sha256:0\nsetuptools==2 \\\n    --hash=sha256:1\n",
        )
        self.bin.mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found is not None, f"{tool} is missing"
            (self.bin / tool).symlink_to(found)
        self.log.touch()

    @staticmethod
    def write(file: Path, text: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def add_python(self, file: Path, version: str) -> None:
        major, minor, _ = version.split(".")
        self.write(file, INTERPRETER.format(version=version, major=major, minor=minor))

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "launch/setup.sh"],
            cwd=self.repository,
            env={
                "PATH": str(self.bin),
                "HOME": str(self.repository.parent),
                "PYENV_ROOT": str(self.pyenv),
                "LOG": str(self.log),
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=600,
        )

    def ran(self) -> list[str]:
        """What ran since the last look."""
        lines = self.log.read_text().splitlines()
        self.log.write_text("")
        return lines


@pytest.fixture
def machine(tmp_path: Path, root: Path) -> Machine:
    return Machine(tmp_path, root)


INSTALLS = [
    "pip --quiet --no-build-isolation --require-hashes --requirement /dev/stdin",
    "pip --quiet --no-build-isolation --require-hashes --requirement requirements.txt",
    "pip --quiet --no-build-isolation --no-deps --editable .",
]


def test_without_a_python_there_is_one_clear_sentence(machine: Machine) -> None:
    machine.write(machine.bin / "python3.12", BROKEN)
    machine.add_python(machine.bin / "python3", "3.11.2")
    result = machine.set_up()
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        "error: no Python 3.12 or newer (with its venv module) was found: install one, or name it: "
        "PYTHON=/path/to/python3 bash launch/setup.sh\n"
    )
    assert machine.ran() == []
    assert not (machine.repository / ".venv").exists()


def test_a_versions_folder_is_used_where_the_shim_is_broken(machine: Machine) -> None:
    machine.write(machine.bin / "python3.12", BROKEN)
    machine.add_python(machine.pyenv / "versions" / "3.9.1" / "bin" / "python", "3.9.1")
    machine.add_python(machine.pyenv / "versions" / "3.12.4" / "bin" / "python", "3.12.4")
    assert machine.set_up().returncode == 0
    assert machine.ran() == ["venv 3.12.4", *INSTALLS]


def test_an_interpreter_of_uv_is_the_last_resort(machine: Machine) -> None:
    machine.add_python(machine.pyenv.parent / "uv-python", "3.13.2")
    machine.write(machine.bin / "uv", f"#!/bin/bash\necho {machine.pyenv.parent / 'uv-python'}\n")
    assert machine.set_up().returncode == 0
    assert machine.ran()[0] == "venv 3.13.2"


def test_a_tested_version_comes_before_a_newer_one(machine: Machine) -> None:
    machine.add_python(machine.bin / "python3", "3.15.0")
    assert machine.set_up().returncode == 0
    assert machine.ran()[0] == "venv 3.15.0"
    shutil.rmtree(machine.repository / ".venv")
    machine.add_python(machine.bin / "python3.13", "3.13.1")
    assert machine.set_up().returncode == 0
    assert machine.ran()[0] == "venv 3.13.1"


def test_a_named_python_is_the_only_candidate(machine: Machine) -> None:
    machine.add_python(machine.bin / "python3.12", "3.12.1")
    machine.add_python(machine.bin / "mine", "3.11.1")
    result = machine.set_up(PYTHON="mine")
    assert result.returncode == 1
    assert "was found under PYTHON=mine: install one" in result.stderr


def test_the_second_time_nothing_is_done(machine: Machine) -> None:
    machine.add_python(machine.bin / "python3.12", "3.12.1")
    assert machine.set_up().returncode == 0
    assert machine.ran() == ["venv 3.12.1", *INSTALLS]
    result = machine.set_up()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert machine.ran() == []


def test_changed_requirements_are_installed_into_what_is_there(machine: Machine) -> None:
    machine.add_python(machine.bin / "python3.12", "3.12.1")
    assert machine.set_up().returncode == 0
    machine.ran()
    with open(machine.repository / "requirements.txt", "a") as file:
        file.write("more==1\n")
    assert machine.set_up().returncode == 0
    assert machine.ran() == INSTALLS


@pytest.mark.parametrize("fail_at", ["-m venv", "/dev/stdin", "requirements.txt", "--editable"])
def test_what_was_left_half_made_is_made_anew(machine: Machine, fail_at: str) -> None:
    machine.add_python(machine.bin / "python3.12", "3.12.1")
    result = machine.set_up(FAIL_AT=fail_at)
    assert result.returncode == 7
    assert result.stderr == "error: set-up did not finish; mend the cause and run it again\n"
    machine.ran()
    left = machine.repository / ".venv" / "lib" / "half-written"
    machine.write(left, "")
    assert machine.set_up().returncode == 0
    assert machine.ran() == ["venv 3.12.1", *INSTALLS]
    assert not left.exists()


def test_a_moved_or_broken_environment_is_mended(machine: Machine) -> None:
    machine.add_python(machine.bin / "python3.12", "3.12.1")
    assert machine.set_up().returncode == 0
    machine.ran()
    machine.repository = machine.repository.rename(machine.repository.with_name("moved"))
    assert machine.set_up().returncode == 0
    assert machine.ran() == ["venv 3.12.1", *INSTALLS]
    machine.write(machine.repository / ".venv" / "bin" / "python", BROKEN)
    assert machine.set_up().returncode == 0
    assert machine.ran() == ["venv 3.12.1", *INSTALLS]


def test_an_environment_of_someone_else_is_left_alone(machine: Machine) -> None:
    machine.add_python(machine.bin / "python3.12", "3.12.1")
    machine.write(machine.repository / ".venv" / "pyvenv.cfg", "theirs")
    result = machine.set_up()
    assert result.returncode == 1
    assert result.stderr.startswith("error: .venv is there but was not made by launch/setup.sh")
    assert os.listdir(machine.repository / ".venv") == ["pyvenv.cfg"]


def test_only_the_locked_backend_is_installed_first(machine: Machine) -> None:
    machine.add_python(machine.bin / "python3.12", "3.12.1")
    assert machine.set_up().returncode == 0
    given = machine.log.with_name("log.stdin").read_text()
    assert given == "setuptools==2 \\\n    --hash=sha256:1\n"
