"""Changes the code in one place at a time and asks whether a test notices.

For each module its own tests run once as they are and then for each change, until the first
failure; a change that no test notices has survived. Survivors are read by a person: those that
change no number stand with the reason in `equivalent.toml`, the others want a stronger test. What
was tried is kept in a log, a line each, so that the same command goes on where it was stopped and
tries only survivors again when tests have changed. Not a part of the suite.

    python -m tests.mutation sacd_jax/objectives/*.py input_pipeline/splits.py --limit 40
"""

import argparse
import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import xxhash

from tests.mutation.changes import changes
from tests.mutation.trial import ROOT, Order, import_all, try_tests

EQUIVALENT = Path(__file__).parent / "equivalent.toml"

_READERS = "tests/input_pipeline/readers/hypnogram"
_OBJECTIVES = "tests/objectives"
BESIDE = {
    "input_pipeline/readers/hypnogram/": [
        f"{_READERS}/test_{name}.py"
        for name in ("epochs", "table", "reader", "events", "scorers", "lines", "dialects")
    ],
    "sacd_jax/objectives/": [f"{_OBJECTIVES}/test_defaults.py"],
    "sacd_jax/objectives/__init__.py": [f"{_OBJECTIVES}/test_sacd.py"],
    "sacd_jax/objectives/memory_bank.py": [f"{_OBJECTIVES}/test_sample_contrast.py"],
    "sacd_jax/objectives/sacd.py": [
        f"{_OBJECTIVES}/test_{name}.py" for name in ("sacd_by_hand", "sample_contrast", "knowledge")
    ],
    "sacd_jax/objectives/losses.py": [
        f"{_OBJECTIVES}/test_relations.py",
        f"{_OBJECTIVES}/test_sacd.py",
    ],
    "sacd_jax/objectives/composition.py": [
        f"{_OBJECTIVES}/test_ccl.py",
        f"{_OBJECTIVES}/test_sacd_released.py",
    ],
    "sacd_jax/objectives/sample_contrast.py": [f"{_OBJECTIVES}/test_sacd.py"],
    "sacd_jax/objectives/clip_bank.py": [f"{_OBJECTIVES}/test_instance_contrast.py"],
    "sacd_jax/objectives/rows.py": [f"{_OBJECTIVES}/test_sacd.py"],
    "sacd_jax/objectives/graph_pairs.py": [
        f"{_OBJECTIVES}/test_sacd.py",
        f"{_OBJECTIVES}/test_sacd_by_hand.py",
    ],
}
"""How the names of modules begin -> tests that look at them as well, beside those of their own."""


def tests_of(module: str) -> list[str]:
    """The test file that mirrors a module, else those of its folder that name it; and `BESIDE`."""
    beside = [test for begin, tests in BESIDE.items() if module.startswith(begin) for test in tests]
    path = Path(module)
    parts = path.parts if path.parts[0] != "sacd_jax" else path.parts[1:]
    folder = Path("tests", *parts[:-1])
    mirror = folder / f"test_{path.name}"
    if (ROOT / mirror).exists():
        return list(dict.fromkeys([str(mirror), *beside]))
    named = re.compile(rf"\b{path.stem}\b")
    naming = [
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / folder).glob("test_*.py"))
        if named.search(file.read_text())
    ]
    return list(dict.fromkeys([*naming, *beside]))


def _digest(files: Iterable[Path]) -> str:
    hashed = xxhash.xxh3_64()
    for file in files:
        hashed.update(file.read_bytes())
    return hashed.hexdigest()


@dataclass
class Log:
    """What was tried before: `killed` holds for a module's text, `survived` also for its tests'."""

    path: Path

    def outcomes(self, module: str, texts: str, tests: str) -> dict[str, str]:
        """Name of a change -> what noticed it, or "" where nothing did."""
        found = {}
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                entry = json.loads(line)
                if (entry["module"], entry["text"]) != (module, texts):
                    continue
                if entry["by"] or entry["tests"] == tests:
                    found[entry["change"]] = entry["by"]
        return found

    def add(self, **entry: object) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


@dataclass
class Result:
    """A module's row of the table."""

    module: str
    tried: int = 0
    killed: int = 0
    equivalent: int = 0
    survived: int = 0


def survey(
    module: str, tests: list[str], limit: int | None, seed: int, log: Log, reasons: dict[str, str]
) -> Result:
    """Tries a module's changes and prints those no test notices."""
    source = (ROOT / module).read_text()
    result = Result(module)
    every = changes(source)
    if unknown := set(reasons) - {change.name for change in every}:
        print(f"{module}: no such change in equivalent.toml: {sorted(unknown)}", flush=True)
    # So that a higher limit adds to a lower one, and other changes alter little.
    every.sort(key=lambda change: xxhash.xxh3_64_intdigest(change.name.encode(), seed))
    every = every[:limit]
    asked = [change for change in every if change.name not in reasons]
    result.tried, result.equivalent = len(every), len(every) - len(asked)
    files = [
        file for test in tests for file in sorted((ROOT / test).rglob("*.py")) or [ROOT / test]
    ]
    digests = _digest([ROOT / module]), _digest(files)
    known = log.outcomes(module, *digests)
    order = Order()
    seconds = None
    name = ".".join(Path(module).with_suffix("").parts).removesuffix(".__init__")
    for change in asked:
        by = known.get(change.name)
        if by is None:
            if seconds is None:
                whole = try_tests(name, None, tests, order, 3600)
                if not whole.passed:
                    sys.exit(f"{module}: the unchanged module fails, by {whole.by}")
                import_all(whole.imported)
                order.seconds = whole.tests
                seconds = 60 + 4 * whole.seconds
            trial = try_tests(name, change.text, tests, order, seconds)
            by = "" if trial.passed else trial.by
            text, at = digests
            log.add(module=module, text=text, tests=at, change=change.name, line=change.line, by=by)
        order.noticed[by] += bool(by)
        result.killed += bool(by)
        if not by:
            result.survived += 1
            print(f"survived {module}:{change.line} {change.name}", flush=True)
    print(f"{result}", file=sys.stderr, flush=True)
    return result


def main() -> None:
    """Parses the command line and prints what survived."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("module", nargs="+", help="file, from the checkout's folder")
    parser.add_argument("--tests", nargs="+", help="test files; else those that mirror the module")
    parser.add_argument("--limit", type=int, help="changes a module, drawn at random; else all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--log", type=Path, default=ROOT / "runs" / "mutation.jsonl")
    options = parser.parse_args()
    options.log.parent.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    equivalent = tomllib.loads(EQUIVALENT.read_text())
    with tempfile.TemporaryDirectory() as folder:
        # What is unchanged is compiled once.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{folder}/xla"
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{folder}/hypothesis"
        results = [
            survey(
                module,
                options.tests or tests_of(module),
                options.limit,
                options.seed,
                Log(options.log),
                equivalent.get(module, {}),
            )
            for module in options.module
        ]
    print("| module | changes | killed | equivalent | survived |\n|---|---:|---:|---:|---:|")
    for row in results:
        numbers = f"{row.tried} | {row.killed} | {row.equivalent} | {row.survived}"
        print(f"| `{row.module}` | {numbers} |")


if __name__ == "__main__":
    main()
