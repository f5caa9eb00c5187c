"""Changes one number, operator or comparison at a time and asks whether a test notices.

Works on a copy of the checkout. For each module its own tests run once as they are and then for
each change, until the first failure; a change that no test notices has survived. Survivors are
read by a person: some change no number (a tolerance that is never met, a default that every caller
sets), the others want a stronger test. Not a part of the suite.

    python -m tests.mutation sacd_jax/objectives/memory_bank.py input_pipeline/splits.py --limit 40
"""

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
_NOT_ENTERED = ("annotation", "returns", "decorator_list", "type_params")


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What computes: no annotations, messages, docstrings or names of types."""
    yield node
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.TypeAlias)):
        return
    for name, value in ast.iter_fields(node):
        if name in _NOT_ENTERED:
            continue
        # Subscripts of types, such as Literal["a"] and dict[str, int] | None.
        if isinstance(node, ast.Assign) and isinstance(value, ast.Subscript):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _nodes(child)


def _changed(node: ast.AST) -> ast.AST | None:
    """The node with one change, or None where nothing is to be changed."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[operator, *_]) if type(operator) in _SWAPS:
            new.ops[0] = _SWAPS[type(operator)]()
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) | ast.BoolOp(op=operator) if (
            type(operator) in _SWAPS
        ):
            new.op = _SWAPS[type(operator)]()
        case ast.UnaryOp(operand=operand):
            return operand
        case ast.Constant(value=bool(value)):
            new.value = not value
        case ast.Constant(value=int(value)):
            new.value = value + 1
        case ast.Constant(value=float(value)):
            new.value = 1.5 * value + 0.1 * (value == 0)
        case _:
            return None
    return new


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Each change of a module: where and what it is, and the module's new text."""
    tree = ast.parse(source)
    for node in list(_nodes(tree)):
        new = _changed(node)
        if new is None:
            continue
        before = ast.unparse(node)
        kept = dict(vars(node)), type(node)
        # In place, so that the parent need not be known.
        node.__class__ = type(new)
        vars(node).clear()
        vars(node).update(vars(new))
        try:
            line = kept[0]["lineno"]
            yield f"line {line}: {before} -> {ast.unparse(node)}", ast.unparse(tree)
        finally:
            node.__class__ = kept[1]
            vars(node).clear()
            vars(node).update(kept[0])


def tests_of(module: Path) -> list[str]:
    """The test file that mirrors a module, else those of its folder that name it."""
    parts = module.parts if module.parts[0] != "sacd_jax" else module.parts[1:]
    folder = Path("tests", *parts[:-1])
    mirror = folder / f"test_{module.name}"
    if (ROOT / mirror).exists():
        return [str(mirror)]
    return [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / folder).glob("test_*.py"))
        if module.stem in path.read_text()
    ]


def _passes(copy_of: Path, tests: list[str], seconds: float) -> bool:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(copy_of)}
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=copy_of,
            env=environment,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def survivors(module: Path, tests: list[str], limit: int | None, seed: int) -> tuple[int, int]:
    """Tries a module's changes and prints those no test notices.

    Returns:
        How many were noticed, and how many survived.
    """
    source = (ROOT / module).read_text()
    changes = list(mutants(source))
    if limit is not None and limit < len(changes):
        changes = random.Random(seed).sample(changes, limit)
    killed = 0
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "checkout"
        ignored = shutil.ignore_patterns(".*", "runs", "__pycache__")
        shutil.copytree(ROOT, copied, ignore=ignored)
        begin = time.monotonic()
        if not _passes(copied, tests, 3600):
            sys.exit(f"{module}: its tests fail before anything is changed: {' '.join(tests)}")
        seconds = 30 + 4 * (time.monotonic() - begin)
        for what, text in changes:
            (copied / module).write_text(text)
            if _passes(copied, tests, seconds):
                print(f"survived  {module} {what}", flush=True)
            else:
                killed += 1
    print(f"{module}: {killed} of {len(changes)} killed by {' '.join(tests)}", flush=True)
    return killed, len(changes) - killed


def main() -> None:
    """Parses the command line and prints what survived."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("module", nargs="+", type=Path, help="file, from the checkout's folder")
    parser.add_argument("--tests", nargs="+", help="test files; else those that mirror the module")
    parser.add_argument("--limit", type=int, help="changes a module, drawn at random; else all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    options = parser.parse_args()
    counts = [
        survivors(module, options.tests or tests_of(module), options.limit, options.seed)
        for module in options.module
    ]
    killed, survived = map(sum, zip(*counts, strict=True))
    print(f"{killed} killed, {survived} survived")


if __name__ == "__main__":
    main()
