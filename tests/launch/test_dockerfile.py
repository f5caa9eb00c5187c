"""The image's recipe, read and not built: a daemon is not at hand everywhere."""

import re
from pathlib import Path

import pytest


@pytest.fixture
def recipe(root: Path) -> list[str]:
    """One instruction each, lines joined, without comments."""
    text = (root / "launch/Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip()]


def test_what_is_copied_is_there_and_holds_every_package(root: Path, recipe: list[str]) -> None:
    copied = [word for line in recipe if line.startswith("COPY") for word in line.split()[1:-1]]
    assert all((root / name).exists() for name in copied)
    assert {"sacd_jax", "input_pipeline", "configs", "launch", "requirements.txt"} <= set(copied)


def test_every_package_is_checked_by_its_hash(root: Path, recipe: list[str]) -> None:
    (choice,) = [line for line in recipe if "pip install" in line]
    assert "--require-hashes" in choice and "launch/requirements-$DEVICE.txt" in choice
    match = re.search(r"(\w+ \| \w+)\)", choice)
    assert match is not None
    locked = {
        line.split(" ")[0] for line in (root / "requirements.txt").read_text().splitlines() if line
    }
    for device in match[1].split(" | "):
        text = (root / f"launch/requirements-{device}.txt").read_text()
        packages = re.findall(r"^[\w.-]+==.*?(?=^[\w.-]+==|\Z)", text, re.M | re.S)
        assert packages and all("--hash=sha256:" in package for package in packages)
        # The versions that the tests run with stay as they are.
        assert {p.split(" ")[0] for p in packages if p.startswith(("jax=", "numpy="))} <= locked


def test_it_does_not_run_as_root(recipe: list[str]) -> None:
    users = [line for line in recipe if line.startswith("USER")]
    assert users == ["USER sacd"]
    assert any("--uid 1000 sacd" in line for line in recipe)  # as launch/gke_*.yaml asks for
