"""Typed settings: frozen dataclasses made from nested values, changed by paths, stored as JSON."""

import dataclasses
import functools
import math
import os
import reprlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from input_pipeline.errors import UserError, suggestion

EVERY = "*"
"""In a path, every entry of a group of named ones."""

Changes = Mapping[str, "Changes"] | Callable[[Any, Any], Any]
"""Name -> changes below it; at a leaf, (type, old value) -> the new value."""


@dataclass(frozen=True)
class Range:
    """The values that a setting may have, for `Annotated`: in words, and as a test."""

    expected: str
    holds: Callable[[Any], bool]


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed, so that runs may share it; equal to, and stored as, a dict."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("settings are values: make new ones with dataclasses.replace")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class Settings:
    """Base of frozen dataclasses whose values have the types and ranges that are annotated.

    Numbers, tuples and dicts are normalised: 3 for a float becomes 3.0, a list a tuple, a dict one
    that cannot be changed.

    Raises:
        UserError: names the field, what was found and what was expected.
    """

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former name of a setting -> its name; stored configs and command lines may say either."""

    def __post_init__(self) -> None:
        for name, kind in _hints(type(self)).items():
            object.__setattr__(self, name, _convert(kind, getattr(self, name), name))


def build(cls: type, values: Mapping[str, Any], where: str = "config") -> Any:
    """Makes the dataclass `cls` from nested mappings, checking names, types and ranges.

    `values` may be anything that JSON holds: a stored config is not believed.

    Raises:
        UserError: names the key, what was found and what was expected.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where} is {_shown(values)}, expected settings")
    hints = _hints(cls)
    values = with_new_names(values, getattr(cls, "renamed", {}), where)
    for key in values:
        if key not in hints:
            raise UserError(f"{where}.{key} is no setting: {suggestion(str(key), hints)}")
    for f in dataclasses.fields(cls):
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in values:
            raise UserError(f"{where}.{f.name} is not set")
    return _make(cls, {k: _convert(hints[k], v, f"{where}.{k}") for k, v in values.items()}, where)


def changed(kind: Any, value: Any, changes: Changes, where: str = "config") -> Any:
    """`value` with the changes; nothing is modified, and all changes of a group act at once.

    A group that is None is made from the changes alone. Groups of free names (`dict[str, Any]`,
    such as a network's options) take new names; others refuse them. `EVERY` stands for all.

    Raises:
        UserError: names the path, what was found and what was expected.
    """
    if callable(changes):
        return _convert(kind, changes(kind, value), where)
    kind = _without_none(kind)
    if dataclasses.is_dataclass(kind):
        cls = typing.cast(type, kind)
        old = {} if value is None else {name: getattr(value, name) for name in _hints(cls)}
        new = {}
        for name, below in with_new_names(changes, getattr(cls, "renamed", {}), where).items():
            hint = _hints(cls).get(name)
            if hint is None:
                known = _hints(cls) | getattr(cls, "shortcuts", {})
                raise UserError(f"{where}.{name} is no setting: {suggestion(name, known)}")
            new[name] = changed(hint, old.get(name), below, f"{where}.{name}")
        return build(cls, {**old, **new}, where)
    inner = typing.get_args(kind)[1] if typing.get_origin(kind) is dict else Any
    if not isinstance(value, Mapping) and (value is not None or kind is not Any):
        raise UserError(f"{where} is {_shown(value)}: there is nothing below it to set")
    old = dict(value or {})
    if dataclasses.is_dataclass(inner):  # named runs, say: no name can be added
        for name in changes:
            if name not in old and name != EVERY:
                raise UserError(f"{where}.{name} is not there: {suggestion(name, old)}")
    elif EVERY in changes:
        raise UserError(f"{where}.{EVERY}: expected the name of an option")
    for name in dict.fromkeys([*(old if EVERY in changes else ()), *changes]):
        if name == EVERY:
            continue
        inside = f"{where}.{name}" if name in changes else where.rpartition(".")[0]
        below = merged(changes.get(EVERY, {}), changes.get(name, {}))
        old[name] = changed(inner, old.get(name), below, inside)
    return old


def with_new_names[Value](
    values: Mapping[str, Value], renamed: Mapping[str, str], where: str
) -> dict[str, Value]:
    """The same values under their present names.

    Args:
        values: name -> value.
        renamed: former name -> present name.
        where: what the values belong to.

    Raises:
        UserError: a value stands under both names.
    """
    for former, name in renamed.items():
        if former in values and name in values:
            raise UserError(f"{where}.{former} was renamed to {name}: expected {name} alone")
    return {renamed.get(name, name): value for name, value in values.items()}


def merged(first: Changes, then: Changes) -> Changes:
    """Changes in which `then` wins where both set the same."""
    if callable(first) or callable(then):
        return then if callable(then) or then else first
    both = {name: merged(first[name], then[name]) if name in first else then[name] for name in then}
    return {**first, **both}


def as_json(value: Any) -> Any:
    """A dataclass tree as plain JSON values (paths as strings)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    return str(value) if isinstance(value, os.PathLike) else value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


def _without_none(kind: Any) -> Any:
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return next(a for a in typing.get_args(kind) if a is not type(None))
    return kind


def _make(cls: type, values: Mapping[str, Any], where: str) -> Any:
    try:
        return cls(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _shown(value: Any) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__}"


def _convert(kind: Any, value: Any, where: str) -> Any:
    """The value as the type wants it, or one line that says why it cannot be."""

    def refuse(expected: str) -> NoReturn:
        raise UserError(f"{where} is {_shown(value)}, expected {expected}")

    if kind is Any:
        return _plain(value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else _convert(_without_none(kind), value, where)
    if origin is Annotated:
        found = _convert(arguments[0], value, where)
        for allowed in arguments[1:]:
            if not allowed.holds(found):
                refuse(allowed.expected)
        return found
    if origin is Literal:
        if value not in arguments:
            hint = suggestion(value, arguments) if isinstance(value, str) else "expected a word"
            raise UserError(f"{where} is {_shown(value)}: {hint}")
        return value
    if dataclasses.is_dataclass(kind):
        cls = typing.cast(type, kind)
        if isinstance(value, cls):
            return value
        return build(cls, value, where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            refuse("a tuple")
        return tuple(_convert(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
            refuse("a group of names and values")
        return FrozenDict(
            {name: _convert(arguments[1], v, f"{where}.{name}") for name, v in value.items()}
        )
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if _finite(value) else refuse("a finite number")
    if kind is int and isinstance(value, int) and not -(2**63) <= value < 2**63:
        refuse("an integer of 64 bits")
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        refuse(kind.__name__)
    return value


def _plain(value: Any, where: str) -> Any:
    """A value of a free option: what JSON can hold, and cannot be changed."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _convert(float if isinstance(value, float) else int, value, where)
    if isinstance(value, list | tuple):
        return tuple(_plain(v, f"{where}[{i}]") for i, v in enumerate(value))
    if isinstance(value, Mapping):
        return _convert(dict[str, Any], value, where)
    raise UserError(f"{where} is a {type(value).__name__}, expected a number, word, tuple or group")
