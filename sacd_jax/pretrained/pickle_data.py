"""The data in a pickle, read opcode by opcode.

Unpickling runs whatever a file asks for. Here, only the opcodes that build plain data are executed.
A function that the file calls must be in a table of ours, or the file is refused; an object of any
class becomes an empty placeholder. Nothing is imported, called or instantiated on the file's
behalf, and everything else is refused.
"""

import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_BYTES = 8 << 20
"""Longest pickle that is read: a network's names, shapes and optimizer settings take far less."""

MAX_OPCODES = 500_000
"""Most opcodes that are read: a few hundred tensors and an optimizer's take about ten thousand."""

_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_STRINGS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING")
_BYTES = ("BINBYTES", "SHORT_BINBYTES")
_VALUES = frozenset(_NUMBERS + _STRINGS + _BYTES)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class RefusedError(Exception):
    """Why a file is refused; the caller adds the file's name."""


@dataclass(frozen=True)
class Global:
    """The name of a class or function in the pickle, `module.name`."""

    name: str


@dataclass(frozen=True)
class Inert:
    """A placeholder for an object of some class; holds only the class's name."""

    name: str


Known = Mapping[str, Callable[..., Any] | None]
"""Name that a pickle may call -> what to call instead, or None to leave an `Inert`."""


def read_pickle(data: bytes, known: Known, persistent: Callable[[Any], Any]) -> Any:
    """Reads one pickle of protocol 2 to 5.

    Args:
        data: the pickle.
        known: the names it may call.
        persistent: returns the object of a persistent id (in PyTorch, a storage).

    Returns:
        dicts, lists, tuples, numbers, strings, bytes, None, and what `known` and `persistent` give.

    Raises:
        RefusedError: the pickle is damaged, too large, or asks for more than data.
    """
    if len(data) > MAX_BYTES:
        raise RefusedError(f"its pickle has {len(data)} bytes, expected at most {MAX_BYTES}")
    machine = _Machine(known, persistent)
    try:
        with warnings.catch_warnings():
            # About escapes in strings of protocol 0, which are parsed before they can be refused.
            warnings.simplefilter("ignore", DeprecationWarning)
            for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
                if count == MAX_OPCODES:
                    raise RefusedError(f"its pickle has more than {MAX_OPCODES} opcodes")
                if opcode.name == "STOP":
                    return machine.stack.pop()
                machine.step(opcode.name, argument)
    except (IndexError, KeyError, ValueError, TypeError) as error:
        # An empty stack, an unknown memo entry, a string that ends too early, a wrong operand.
        raise RefusedError(f"its pickle is damaged ({type(error).__name__})") from error
    raise RefusedError("its pickle has no end")


class _Machine:
    """The pickle machine's stack, marks and memo."""

    def __init__(self, known: Known, persistent: Callable[[Any], Any]) -> None:
        self.known = known
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Executes one opcode."""
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._tuple(len(stack) - _TUPLES[name])
        else:
            self._structure(name, argument)

    def _structure(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(stack))
            case "TUPLE":
                self._tuple(self.marks.pop())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "APPEND":
                self._append(len(stack) - 1)
            case "APPENDS":
                self._append(self.marks.pop())
            case "SETITEM":
                self._set_items(len(stack) - 2)
            case "SETITEMS":
                self._set_items(self.marks.pop())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "POP":
                stack.pop()
            case "GLOBAL":
                stack.append(Global(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(Global(f"{_text(module)}.{_text(attribute)}"))
            case "REDUCE" | "NEWOBJ":
                self._call(an_object=name == "NEWOBJ")
            case "BUILD":
                self._build()
            case "BINPERSID":
                stack.append(self.persistent(stack.pop()))
            case _:
                raise RefusedError(f"its pickle has the opcode {name}, unknown in plain data")

    def _from(self, start: int) -> list[Any]:
        """Pops everything above a height of the stack."""
        if not 0 <= start <= len(self.stack):
            raise IndexError
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _tuple(self, start: int) -> None:
        self.stack.append(tuple(self._from(start)))

    def _append(self, start: int) -> None:
        items, target = self._from(start), self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            raise TypeError

    def _set_items(self, start: int) -> None:
        items, target = self._from(start), self.stack[-1]
        if len(items) % 2:
            raise ValueError
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                # Hashing a tuple nested deep enough would overrun the interpreter's own stack.
                if not isinstance(key, str | int | float | bytes | None):
                    raise RefusedError(f"a dict has a key of type {type(key).__name__}")
                target[key] = value
        elif not isinstance(target, Inert):
            raise TypeError

    def _call(self, an_object: bool) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise TypeError
        if function.name not in self.known and not an_object:
            raise RefusedError(
                f"it asks for {printable(function.name)}, which is never built here: "
                "expected tensors, dicts, lists, numbers and strings "
                "(save the network's state_dict() alone, or use safetensors)"
            )
        substitute = self.known.get(function.name)
        self.stack.append(substitute(*arguments) if substitute else Inert(function.name))

    def _build(self) -> None:
        # An ordered dict's state is PyTorch's version metadata; a placeholder needs none.
        self.stack.pop()
        if not isinstance(self.stack[-1], dict | Inert):
            raise TypeError


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def printable(name: Any) -> str:
    """A name from a file, made safe and short enough for a line of text."""
    text = name if isinstance(name, str) else repr(name) if isinstance(name, int | float) else "?"
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 120 else f"{text[:117]}..."
