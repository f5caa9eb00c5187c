"""The command line of commands that take a config file: its choices, and settings by path."""

import argparse
import ast
import importlib.util
import inspect
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NoReturn

from input_pipeline.errors import UserError, suggestion
from sacd_jax import schema

_CONFIG = "--config"


class Parser(argparse.ArgumentParser):
    """Parser of `--config FILE`, `--workdir DIR`, `--config.KEY=VALUE` and the command's own flags.

    Args:
        description: what the command does.
        example: a call of it.
    """

    def __init__(self, description: str | None, example: str):
        self._example = example
        super().__init__(
            prog=example.partition(f" {_CONFIG}")[0],
            usage=f"{example} [flags]",
            description=description,
            epilog="--config.KEY=VALUE replaces one setting of the config file, or adds an option",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument(
            _CONFIG, metavar="FILE", help="experiment; its choices follow a colon: FILE:size=demo"
        )
        self.add_argument(
            "--workdir", metavar="DIR", help="folder of the run; resumed when it is there"
        )

    def error(self, message: str) -> NoReturn:
        """Called by argparse.

        Raises:
            UserError: always.
        """
        raise UserError(f"command line: {message}; example: {self._example}")

    def parse(self, argv: Sequence[str], kind: type) -> argparse.Namespace:
        """Parses the arguments; `config` is the file's content with the settings of the line.

        Args:
            argv: without the program's name.
            kind: what the config file must make, `Experiment` or `SweepConfig`.

        Raises:
            UserError: a mistyped flag or key, a value that does not fit, or no config.
        """
        paths, rest = self._settings(argv)
        parsed, unknown = self.parse_known_args(rest)
        if unknown:
            flag = unknown[0].partition("=")[0]
            if not flag.startswith("-"):
                self.error(f"{flag!r} is no flag")
            self.error(f"{flag} is no flag: {suggestion(flag, self._option_string_actions)}")
        for name in ("config", "workdir"):
            if getattr(parsed, name) is None:
                raise UserError(f"--{name} is missing; example: {self._example}")
        parsed.config = override(load_config(parsed.config, kind), paths)
        return parsed

    def _settings(self, argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
        """(path, value) of each `--config.PATH=VALUE`, and the other arguments."""
        paths, rest, waiting = [], [], iter(argv)
        for argument in waiting:
            name, equals, value = argument.partition("=")
            path = name.removeprefix(f"{_CONFIG}.")
            if path == name:
                rest.append(argument)
                continue
            if not equals:
                value = next(waiting, None)
            if value is None or not all(path.split(".")):
                self.error(f"{name}: expected {_CONFIG}.KEY=VALUE")
            paths.append((path, value))
        return paths, rest


def override[Config](config: Config, settings: Sequence[tuple[str, str]]) -> Config:
    """The config with settings by path, each read as its type wants: ("runs.sacd.seed", "1").

    Numbers, tuples and groups are Python's literals, words need no quotes. `runs.*` is every run.
    The last of several settings of the same thing holds.

    Raises:
        UserError: no such setting, or no such value of it; names the path.
    """
    shortcuts: Mapping[str, tuple[str, ...]] = getattr(config, "shortcuts", {})
    changes: schema.Changes = {}
    for path, text in settings:
        first, *others = path.split(".")
        change: schema.Changes = _reader(text)
        for name in reversed((*shortcuts.get(first, (first,)), *others)):
            change = {name: change}
        changes = schema.merged(changes, change)
    return schema.changed(type(config), config, changes) if settings else config


def _reader(text: str) -> Callable[[Any, Any], Any]:
    return lambda kind, old: read(kind, text, old)


def read(kind: Any, text: str, old: Any = None) -> Any:
    """What a text means where a value of a type is wanted; the text itself if it means nothing."""
    if typing.get_origin(kind) is typing.Annotated:
        return read(typing.get_args(kind)[0], text)
    inner = [a for a in typing.get_args(kind) if a is not type(None)]
    if type(None) in typing.get_args(kind):
        return None if text == "None" else read(inner[0], text)
    if kind in (str, Path) or typing.get_origin(kind) is Literal:
        return text
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        with warnings.catch_warnings(action="ignore"):
            value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    integer = isinstance(value, int) and not isinstance(value, bool)
    return float(value) if integer and kind is Any and isinstance(old, float) else value


def load_config[Config](path: str, kind: type[Config]) -> Config:
    """What the `get_config` of a file makes, given the choices after the colon of `path`.

    `FILE:student=r3d_18,method=crd` calls `get_config(student="r3d_18", method="crd")`; a first
    word without a name is the first choice.

    Raises:
        UserError: no such file or choice, or the file makes something else.
    """
    file, colon, choices = path.partition(":")
    found = find_config_file(file)
    spec = importlib.util.spec_from_file_location(f"config_file_{found.stem}", found)
    if spec is None or spec.loader is None:
        raise UserError(f"config file {file}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make = getattr(module, "get_config", None)
    if make is None:
        raise UserError(f"config file {file} has no function get_config")
    config = make(**(chosen(make, choices) if colon else {}))
    if not isinstance(config, kind):
        raise UserError(
            f"config file {file} makes a {type(config).__name__}, expected a {kind.__name__}"
        )
    return config


def chosen(make: Callable[..., Any], text: str) -> dict[str, Any]:
    """The named choices in `text` as arguments of a `get_config`, in the types it annotates.

    Raises:
        UserError: no such choice, or no such value of it.
    """
    parameters = inspect.signature(make).parameters
    hints, arguments = typing.get_type_hints(make), {}
    for i, word in enumerate(text.split(",") if text else ()):
        name, equals, value = word.partition("=")
        if not (equals and name.isidentifier()) and i == 0 and parameters:
            name, value = next(iter(parameters)), word
        elif not equals:
            raise UserError(f"choice {word!r}: expected NAME=VALUE")
        if name not in parameters:
            raise UserError(f"choice {name!r} is not known: {suggestion(name, parameters)}")
        kind = hints.get(name, str)
        arguments[name] = read(kind, value)
        if not isinstance(arguments[name], kind):
            raise UserError(f"choice {name} is {value!r}, expected {kind.__name__}")
    return arguments


def one_of(kind: str, word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """`word`, if it is known; config files check their choices so.

    Raises:
        UserError: it is not; suggests one that is.
    """
    if word not in known:
        raise UserError(f"{kind} {word!r} is not known: {suggestion(word, known)}")
    return word


def find_config_file(file: str) -> Path:
    """A config file: as given, or among the configs that came with the installation.

    Raises:
        UserError: it is in neither place.
    """
    if Path(file).is_file():
        return Path(file)
    parts = Path(file).parts
    relative = parts[1:] if parts[:1] == ("configs",) else parts
    installed = Path(str(resources.files("configs"))).joinpath(*relative)
    if not installed.is_file():
        raise UserError(f"config file {file} is not there, nor among the installed configs")
    return installed
