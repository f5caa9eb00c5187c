"""What holds for the repository as a whole: nothing of one machine in it, and its lists agree."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent

# Folders of one person's machine, and where one site gets its packages from.
OF_ONE_MACHINE = re.compile(
    r"(?<![\w.~}*])/(?:root|work(?:space)?|Users/\w+|home/\w+|opt/\w+)\b"
    r"|--(?:extra-)?index-url|--find-links|https?://\S*(?:/simple\b|\.whl\b)"
)


def tracked_files() -> list[Path]:
    result = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip("not a git checkout: what is tracked cannot be told")
    files = [ROOT / name for name in result.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]  # deleted but not yet committed: not there


def test_no_tracked_file_names_a_folder_of_one_machine_or_a_package_index() -> None:
    found = []
    for file in tracked_files():
        if file == Path(__file__).resolve():
            continue
        text = file.read_bytes().decode("utf-8", errors="ignore")
        found += [
            f"{file.relative_to(ROOT)}: {match[0]}" for match in OF_ONE_MACHINE.finditer(text)
        ]
    assert found == []


def locked() -> dict[str, str]:
    """Version of each package in requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = (re.match(r"([a-z0-9-]+)==(\S+)", line) for line in lines)
    return {pin[1]: pin[2] for pin in pins if pin}


def declared() -> list[Requirement]:
    """What set-up must install: the dependencies and the extra `test`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]["test"]
    return [Requirement(text) for text in [*project["dependencies"], *extra]]


def test_requirements_hold_everything_that_is_declared() -> None:
    pins = locked()
    wrong = []
    for requirement in declared():
        version = pins.get(requirement.name.lower().replace("_", "-"))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement}: locked at {version}")
    assert wrong == []


def test_every_requirement_is_locked_by_hash() -> None:
    text = (ROOT / "requirements.txt").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked()) > 50
    assert [block for block in blocks if "--hash=sha256:" not in block] == []
