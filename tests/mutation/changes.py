"""Every change of a module that is tried: one number, operator, condition or function each."""

import ast
import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_OPERATORS: dict[type, type] = {
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
_FUNCTIONS = {
    a: b
    for pair in [
        ("min", "max"),
        ("argmin", "argmax"),
        ("minimum", "maximum"),
        ("any", "all"),
        ("zeros", "ones"),
        ("zeros_like", "ones_like"),
        ("floor", "ceil"),
        ("sin", "cos"),
        ("exp", "expm1"),
        ("log", "log1p"),
        ("sum", "mean"),
        ("nanmin", "nanmax"),
    ]
    for a, b in [pair, pair[::-1]]
}
_NOT_ENTERED = ("annotation", "returns", "decorator_list", "type_params", "format_spec")
_LONGEST = 90
"""Letters of a change's surroundings in its name."""


@dataclass(frozen=True)
class Change:
    """One change: its name, which outlives changes of other lines, its line, the new text."""

    name: str
    line: int
    text: str


def _nodes(node: ast.AST, above: tuple[ast.AST, ...] = ()) -> Iterator[tuple[ast.AST, ...]]:
    """What computes, each with what it lies in: no annotations, messages or names of types."""
    here = (*above, node)
    yield here
    if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr, ast.TypeAlias)):
        return
    for name, value in ast.iter_fields(node):
        if name in _NOT_ENTERED or (isinstance(node, ast.keyword) and node.arg == "strict"):
            continue
        # Subscripts of types, such as Literal["a"] and dict[str, int] | None.
        if isinstance(node, ast.Assign) and isinstance(value, ast.Subscript) and len(above) == 1:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _nodes(child, here)


def _changed(node: ast.AST, parent: ast.AST | None) -> ast.AST | None:
    """The node with one change, or None where nothing is to be changed."""
    new = copy.deepcopy(node)
    match new:
        case ast.Compare(ops=[operator, *_]) if type(operator) in _OPERATORS:
            new.ops[0] = _OPERATORS[type(operator)]()
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) | ast.BoolOp(op=operator) if (
            type(operator) in _OPERATORS
        ):
            new.op = _OPERATORS[type(operator)]()
        case ast.UnaryOp(operand=operand):
            return operand
        case ast.Constant(value=bool(value)):
            new.value = not value
        case ast.Constant(value=int(value)):
            new.value = value + 1
        case ast.Constant(value=float(value)):
            new.value = 1.5 * value + 0.1 * (value == 0)
        case ast.Call(func=ast.Attribute(attr="stop_gradient"), args=[only]):
            return only
        case ast.Call(func=ast.Attribute(attr=name)) if name in _FUNCTIONS:
            new.func.attr = _FUNCTIONS[name]
        case ast.Call(func=ast.Name(id="min" | "max" | "any" | "all" as name)):
            new.func.id = _FUNCTIONS[name]
        case ast.Name() | ast.Attribute() | ast.Call() if (
            isinstance(parent, (ast.If, ast.IfExp, ast.While)) and parent.test is node
        ):
            return ast.UnaryOp(ast.Not(), new)
        case _:
            return None
    return new


def _surroundings(nodes: tuple[ast.AST, ...]) -> ast.AST:
    """The largest expression or statement around a node that is still short."""
    found = nodes[-1]
    for node in reversed(nodes[:-1]):
        if not isinstance(node, (ast.expr, ast.keyword, ast.Assign, ast.Return, ast.AugAssign)):
            continue
        if len(ast.unparse(node)) > _LONGEST:
            break
        found = node
    return found


def _within(nodes: tuple[ast.AST, ...]) -> str:
    kinds = (ast.FunctionDef, ast.ClassDef)
    return ".".join(node.name for node in nodes if isinstance(node, kinds)) or "module"


def changes(source: str) -> list[Change]:
    """All changes of a module's text, in the order of its lines."""
    tree = ast.parse(source)
    found = []
    names = Counter[str]()
    for nodes in list(_nodes(tree)):
        node = nodes[-1]
        new = _changed(node, nodes[-2] if len(nodes) > 1 else None)
        if new is None:
            continue
        around = _surroundings(nodes)
        before = ast.unparse(around)
        kept = dict(vars(node)), type(node)
        # In place, so that the parent need not be known.
        node.__class__ = type(new)
        vars(node).clear()
        vars(node).update(vars(new))
        try:
            name = f"{_within(nodes)}: {before} -> {ast.unparse(around)}"
            text = ast.unparse(tree)
        finally:
            node.__class__ = kept[1]
            vars(node).clear()
            vars(node).update(kept[0])
        names[name] += 1
        numbered = name if names[name] == 1 else f"{name} ({names[name]})"
        found.append(Change(numbered, kept[0]["lineno"], text))
    return sorted(found, key=lambda change: change.line)
