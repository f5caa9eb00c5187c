"""Runs a module's tests on a changed text of it, in a copy of a process that has imported the rest.

The changed text never touches the disk: an import hook hands it out. Tests that start processes of
their own would not see it and are left out.
"""

import contextlib
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Plain assertions are quicker to load; nobody reads their messages.
_OPTIONS = (
    *("-q", "-x", "--assert=plain", "--hypothesis-seed=0"),
    *("-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:warnings"),
)


class _ChangedModule(importlib.abc.MetaPathFinder):
    """Imports one module from another text than its file's."""

    def __init__(self, module: str, text: str) -> None:
        self.module, self.text = module, text

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None and spec.origin is not None
        code = compile(self.text, spec.origin, "exec")

        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                return code

        spec.loader = Loader(fullname, spec.origin)
        return spec


@dataclass
class Order:
    """Which tests to run first: what noticed most changes in a second of its time."""

    noticed: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def key(self, test: str) -> float:
        return -(self.noticed[test] + 1) / (self.seconds.get(test, 0.0) + 0.2)


class _Plugin:
    """Orders the tests, and collects how long each took and which failed."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.seconds = Counter[str]()
        self.failed: str | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        here = [item for item in items if "run_python" not in getattr(item, "fixturenames", ())]
        items[:] = sorted(here, key=lambda item: self.order.key(item.nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed and self.failed is None:
            self.failed = report.nodeid


@dataclass(frozen=True)
class Trial:
    """What became of one run of the tests."""

    passed: bool
    by: str
    """The test that failed first, or what else ended the run."""
    seconds: float
    tests: dict[str, float]
    """Seconds of each test that was run."""
    imported: tuple[str, ...]
    """Modules that are not the project's."""


def _child(module: str, text: str | None, tests: Sequence[str], order: Order, pipe: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    if text is not None:
        sys.meta_path.insert(0, _ChangedModule(module, text))
    plugin = _Plugin(order)
    code = pytest.main([*_OPTIONS, *tests], plugins=[plugin])
    imported = [
        name
        for name, found in sys.modules.items()
        if (file := getattr(found, "__file__", None))
        and (not file.startswith(str(ROOT)) or "site-packages" in file)
    ]
    done = {"code": int(code), "failed": plugin.failed, "tests": plugin.seconds, "names": imported}
    with os.fdopen(pipe, "w") as file:
        json.dump(done, file)


def _read(pipe: int, seconds: float) -> bytes | None:
    """All that a child writes, or None when it takes longer."""
    until = time.monotonic() + seconds
    parts = []
    while select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
        part = os.read(pipe, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None


def try_tests(
    module: str, text: str | None, tests: Sequence[str], order: Order, seconds: float
) -> Trial:
    """Runs tests until the first failure, with another text of a module.

    Args:
        module: dotted name.
        text: None leaves the module as it is.
        tests: files of tests.
        seconds: after which the run counts as failed.
    """
    begin = time.monotonic()
    pipe, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            os.close(pipe)
            _child(module, text, tests, order, writing)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    written = _read(pipe, seconds)
    os.close(pipe)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    took = time.monotonic() - begin
    if not written:
        return Trial(False, "the process died" if written == b"" else "time", took, {}, ())
    done = json.loads(written)
    by = done["failed"] or f"pytest's exit code {done['code']}"
    return Trial(done["code"] == 0, by, took, done["tests"], tuple(done["names"]))


def import_all(names: Sequence[str]) -> None:
    """Imports what the next trials need anyway, as far as it can be imported."""
    for name in names:
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception:
                continue
