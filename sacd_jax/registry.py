"""What is made by name (encoders, objectives): finding it, and checking its options."""

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from input_pipeline.errors import UserError, suggestion

Count = Annotated[int, "above 0"]
"""Annotation of an option that counts something: a whole number above 0."""


def find(kind: str, name: str, registry: Mapping[str, str]) -> Any:
    """Imports what `registry` lists under `name` as "module:attribute".

    Raises:
        UserError: the registry has no such name.
    """
    if name not in registry:
        raise UserError(f"{kind} {name!r} is not known: {suggestion(name, sorted(registry))}")
    module, attribute = registry[name].split(":")
    return getattr(import_module(module), attribute)


def check_options(what: str, made: Any) -> None:
    """Holds the fields of a dataclass to their annotations.

    Checked are bool, int, float, str, None, `Count`, `Literal` and unions of these; a field
    annotated otherwise may hold anything.

    Args:
        what: what the error calls it, such as "objective 'sacd'".
        made: a dataclass instance, Flax modules included.

    Raises:
        UserError: names the field, its value and what was expected.
    """
    for field in dataclasses.fields(made):
        value = getattr(made, field.name)
        if not _fits(value, field.type):
            expected = _in_words(field.type)
            raise UserError(f"{what}: {field.name} is {value!r}, expected {expected}")


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, option) for option in get_args(kind))
    if origin is Literal:
        return value in get_args(kind)
    if kind in (int, float, Count):
        number = isinstance(value, Real if kind is float else Integral)
        return number and not isinstance(value, bool) and (kind is not Count or value > 0)
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    return True


def _in_words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType, Literal):
        parts = get_args(kind)
        return " | ".join(
            str(part) if get_origin(kind) is Literal else _in_words(part) for part in parts
        )
    words = {
        int: "a whole number",
        float: "a number",
        Count: "a whole number above 0",
        bool: "True or False",
        str: "a text",
        NoneType: "None",
    }
    return words.get(kind, str(kind))
