"""Experiment configs: ml_collections files, checked once into frozen dataclasses."""

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.errors import UserError
from input_pipeline.groups import BATCH_MODES
from input_pipeline.sampling import Sampling
from input_pipeline.simulation.settings import SimulationSettings


@dataclass(frozen=True)
class EncoderConfig:
    """A network of `sacd_jax.models` by name.

    `pretrained` is a folder written by `convert`, a finished run's workdir, or the name of an
    earlier run of the same experiment. `parts` takes over parts of the network alone: name of the
    part -> where it comes from, a network that has a part of that name or is that part.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    pretrained: str = ""
    parts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectiveConfig:
    """A distillation method of `sacd_jax.objectives` by name, and the weights of its terms.

    A term without an entry in `weights` keeps the method's own weight.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerConfig:
    """See `sacd_jax.tasks.optimizer.make`; defaults follow the paper and its code base (CCL).

    `factors` multiply the learning rate of parts of the student, by their names: 0 freezes a part
    (weight decay does not move it either).
    """

    name: str = "sgd"
    learning_rate: float = 1e-3
    schedule: str = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    decay: float = 0.1
    warmup: float = 0.15
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip_norm: float = 0.0
    factors: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AugmentConfig:
    """What is done to a training clip inside the jitted step; evaluation crops the centre.

    `crop` is (height, width) in pixels; () takes the stored frame whole. `flip` is the probability
    of a left-right mirror; one draw a clip for all its frames. With `scale` a crop
    is a random part of the frame, of a share of its area between the two numbers and of a width to
    height within `ratio`, resampled to the size of `crop`; evaluation shrinks the frame until its
    shorter side is that of `crop`, then crops the centre (UCF51's protocol).
    """

    crop: tuple[int, ...] = ()
    flip: float = 0.5
    scale: tuple[float, ...] = ()
    ratio: tuple[float, ...] = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class RunConfig:
    """One training: what learns, from what, how, for how long.

    `teacher_cache` runs the frozen teacher over the split once and reads what it said from then on
    (`sacd_jax.cache_teacher`); `teacher_trainable` trains the teacher with the student.
    `batch_mode` is one of `input_pipeline.groups.BATCH_MODES`; `group_size` counts the clips of a
    group in `contiguous` batches, of a sequence in `sequences`. A student with the option
    `domains` set to "subjects" has a domain for each training subject.
    """

    task: str
    student: EncoderConfig
    teacher: EncoderConfig | None = None
    objective: ObjectiveConfig | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    sampling: Sampling = field(default_factory=Sampling)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    seed: int = 0
    batch_size: int = 16
    batch_mode: str = "shuffled"
    group_size: int = 16
    passes: float = 80.0
    class_weights: str = "none"
    teacher_cache: bool = False
    teacher_trainable: bool = False
    key_encoder_decay: float = 0.999
    select: str = "best"
    evaluate_every_passes: float = 1.0
    checkpoint_every_passes: float = 1.0
    log_every_steps: int = 10
    eval_batch_size: int = 64


@dataclass(frozen=True)
class Experiment:
    """A data set and the trainings on it, in order: later ones may take an earlier network."""

    dataset: DatasetSettings
    runs: dict[str, RunConfig]


def build(cls: type, values: Mapping[str, Any], where: str = "config") -> Any:
    """Makes the dataclass `cls` from nested mappings, checking names and types.

    Raises:
        UserError: names the key, what was found and what was expected.
    """
    hints = _type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {sorted(fields)}"
            raise UserError(f"{where}.{key} is no setting: {hint}")
    missing = [
        name
        for name, f in fields.items()
        if name not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"{where}.{missing[0]} is not set")
    return cls(**{k: _convert(hints[k], v, f"{where}.{k}") for k, v in values.items()})


def _type_hints(cls: type) -> dict[str, Any]:
    # The data set's settings name the simulator's without importing them.
    return typing.get_type_hints(cls, localns={"SimulationSettings": SimulationSettings})


def _convert(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        kind = next(a for a in typing.get_args(kind) if a is not type(None))
        origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise UserError(f"{where} is {value!r}, expected a group of settings")
        return build(typing.cast(type, kind), value, where)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise UserError(f"{where} is {value!r}, expected a tuple")
        inner = typing.get_args(kind)[0]
        return tuple(_convert(inner, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict or kind is dict:
        return dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is not Any and (
        not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    ):
        raise UserError(f"{where} is {value!r}, expected {getattr(kind, '__name__', kind)}")
    return value


def resolve(config: ConfigDict) -> Experiment:
    """Checks a config file's content and freezes it.

    A config has either the settings of one training beside `dataset`, or `runs`, a group of
    trainings that share it, with their names in `order`: a ConfigDict forgets the order of keys.
    """
    values = config.to_dict()
    dataset = build(DatasetSettings, values.pop("dataset", {}), "config.dataset")
    if "runs" not in values:
        return Experiment(dataset, {"": check(build(RunConfig, values), "config")})
    runs, order = values.pop("runs"), values.pop("order", ())
    if values:
        raise UserError(
            f"config.{next(iter(values))} stands beside config.runs: move it into a run"
        )
    if sorted(order) != sorted(runs):
        raise UserError(f"config.order is {order}, expected the names in config.runs: {set(runs)}")
    checked = {}
    for name in order:
        if not name.isidentifier():
            raise UserError(
                f"config.runs has {name!r}, expected a name of letters, digits and underscores: "
                "the command line could not set the others"
            )
        where = f"config.runs.{name}"
        checked[name] = check(build(RunConfig, runs[name], where), where)
    return Experiment(dataset, checked)


def check(run: RunConfig, where: str) -> RunConfig:
    """Refuses settings that contradict each other; one clear line."""

    def refuse(condition: bool, message: str) -> None:
        if condition:
            raise UserError(f"{where}.{message}")

    tasks = ("classify", "distill")
    refuse(run.task not in tasks, f"task is {run.task!r}, expected one of {tasks}")
    distill = run.task == "distill"
    refuse(distill and run.teacher is None, "teacher is not set, expected for task 'distill'")
    refuse(distill and run.objective is None, "objective is not set, expected for task 'distill'")
    refuse(not distill and run.objective is not None, "objective is set, but task is 'classify'")
    refuse(
        run.teacher_cache and not distill,
        f"teacher_cache is set, but task {run.task!r} has no frozen teacher",
    )
    refuse(
        run.teacher_trainable and not distill,
        f"teacher_trainable is set, but task {run.task!r} has no teacher",
    )
    refuse(
        run.teacher_cache and run.teacher_trainable,
        "teacher_cache is set, but the teacher trains: expected teacher_cache False",
    )
    refuse(run.batch_size < 1, f"batch_size is {run.batch_size}, expected at least 1")
    refuse(run.passes <= 0, f"passes is {run.passes}, expected more than 0")
    refuse(run.select not in ("best", "last"), f"select is {run.select!r}, expected best or last")
    refuse(
        len(run.augment.crop) not in (0, 2),
        f"augment.crop is {run.augment.crop}, expected (height, width) or ()",
    )
    for name, pair in (("scale", run.augment.scale), ("ratio", run.augment.ratio)):
        ordered = len(pair) == 2 and 0 < pair[0] <= pair[1]
        refuse(
            not ordered and pair != (),
            f"augment.{name} is {pair}, expected two ascending numbers above 0",
        )
    refuse(
        bool(run.augment.scale) and not (run.augment.crop and run.augment.ratio),
        "augment.scale is set, but augment.crop or ratio is not",
    )
    refuse(
        run.batch_mode not in BATCH_MODES,
        f"batch_mode is {run.batch_mode!r}, expected one of {BATCH_MODES}",
    )
    grouped = run.batch_mode in ("contiguous", "sequences")
    refuse(
        grouped and run.batch_size % max(1, run.group_size) != 0,
        f"batch_size is {run.batch_size}, expected a multiple of group_size {run.group_size}",
    )
    refuse(
        any(factor < 0 for factor in run.optimizer.factors.values()),
        f"optimizer.factors is {run.optimizer.factors}, expected numbers from 0",
    )
    return run


def with_defaults(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with every setting of the dataclass `cls` that they leave open, at its default.

    Config files fill their groups with it, so that the command line can override any setting.
    """
    filled = dict(values)
    hints = _type_hints(cls)
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            filled[f.name] = with_defaults(hints[f.name], filled.get(f.name, {}))
        elif f.default is not dataclasses.MISSING and f.default is not None:
            filled.setdefault(f.name, f.default)
        elif f.default_factory is not dataclasses.MISSING:
            filled.setdefault(f.name, f.default_factory())
    return filled


def as_json(value: Any) -> Any:
    """A dataclass tree as plain JSON values (paths as strings)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    return str(value) if isinstance(value, os.PathLike) else value


def find_config_file(path: str) -> str:
    """The path of a config file: as given, or among the configs that came with the installation.

    `path` may carry an argument for the file's `get_config` after a colon.
    """
    file, colon, argument = path.partition(":")
    if not Path(file).is_file():
        relative = (
            Path(file).parts[1:] if Path(file).parts[:1] == ("configs",) else Path(file).parts
        )
        installed = Path(str(resources.files("configs"))).joinpath(*relative)
        if not installed.is_file():
            raise UserError(f"config file {file} is not there, nor among the installed configs")
        file = str(installed)
    return file + colon + argument


def parse_flags(argv: Sequence[str], example: str) -> flags.FlagValues:
    """Parses `--config`, `--workdir` and overrides such as `--config.seed=1`.

    Other flags must be defined by the command before. `example` is shown by `--help`.

    Raises:
        UserError: a mistyped flag or key, a wrong type, or no config.
    """
    values = flags.FLAGS
    arguments = list(argv)
    if any(a in ("-h", "--help") for a in arguments):
        print(_help(values, example))
        raise SystemExit(0)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.lstrip("-").partition("=")
        if argument.startswith("-") and name == "config":
            if equals:
                arguments[i] = f"--config={find_config_file(value)}"
            elif i + 1 < len(arguments):
                arguments[i + 1] = find_config_file(arguments[i + 1])
    try:
        rest = values(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"no setting {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"command line: {' '.join(what.split())}") from error
    if len(rest) > 1:
        raise UserError(f"command line: {rest[1]!r} is no flag; example: {example}")
    for name in ("config", "workdir"):
        if values[name].value is None:
            raise UserError(f"--{name} is missing; example: {example}")
    return values


def define_flags(**more: str) -> None:
    """Defines `--config`, `--workdir` and string flags of the command's own (name -> help)."""
    # New attributes are options of networks and methods; `resolve` refuses all others by name.
    config_flags.DEFINE_config_file(
        "config", None, "experiment config file", lock_config=False, accept_new_attributes=True
    )
    flags.DEFINE_string("workdir", None, "folder of the run; resumed when it is there")
    for name, text in more.items():
        flags.DEFINE_string(name, None, text)


def _help(values: flags.FlagValues, example: str) -> str:
    ours = [name for name in values if values.find_module_defining_flag(name) == __name__]
    lines = [f"  --{name}: {values[name].help}" for name in ours]
    override = "  --config.KEY=VALUE: replaces one setting of the config file, or adds an option"
    return "\n".join(["flags:", *lines, override, "", "example:", f"  {example}"])
