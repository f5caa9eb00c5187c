"""How runs lend each other their networks: a teacher, first weights, single submodules."""

from functools import partial
from pathlib import Path
from typing import Any

import jax

from input_pipeline.clip_arrays import INPUTS
from input_pipeline.datasets.dataset_files import DatasetInfo
from input_pipeline.errors import UserError
from sacd_jax import models
from sacd_jax.config import EncoderConfig, as_json
from sacd_jax.models.encoder import Batch, Encoder, init_variables
from sacd_jax.runs import model_file


def lender(encoder: EncoderConfig, siblings: Path) -> Path:
    """The folder that a network's weights come from.

    Args:
        encoder: its config, with `pretrained` set.
        siblings: folder of the experiment's runs; `pretrained` may be the name of one of them.

    Raises:
        UserError: `pretrained` is not set.
    """
    if not encoder.pretrained:
        raise UserError(
            f"teacher {encoder.name}: pretrained is not set, expected a run or a folder"
        )
    return run_or_folder(encoder.pretrained, siblings)


def run_or_folder(origin: str, siblings: Path) -> Path:
    """The folder that a config means: of the experiment's run of that name, or else any."""
    sibling = siblings / origin
    return sibling if sibling.is_dir() else Path(origin)


def lent_teacher(teacher: EncoderConfig, siblings: Path, data: DatasetInfo) -> model_file.Model:
    """The teacher of a run, as it was stored.

    Args:
        teacher: its config.
        siblings: folder of the experiment's runs.
        data: what its student learns from.

    Raises:
        UserError: nothing is stored there, another network than the config names, or one that
            learned from clips made otherwise (EEG of another rate or filter).
    """
    lent = model_file.load(lender(teacher, siblings))
    if lent.encoder != teacher.name:
        raise UserError(
            f"teacher.pretrained holds a {lent.encoder}, expected teacher.name {teacher.name}"
        )
    _refuse_other_clips(lent, data)
    return lent


def _refuse_other_clips(teacher: model_file.Model, data: DatasetInfo) -> None:
    """Refuses a teacher that reads other values under the same name than it learned from."""
    learned = teacher.inputs.get("clips", {})
    encoder = models.create(teacher.encoder, teacher.num_classes, **teacher.options)
    for key in set(encoder.input_keys) & set(INPUTS):
        names = INPUTS[key].settings
        if not set(names) & set(learned):  # converted, or stored before models said so
            continue
        given = as_json(data.clip_settings((key,)))
        for name in names:
            if learned.get(name) != given.get(name):
                raise UserError(
                    f"teacher {teacher.encoder} learned from clips with {name} "
                    f"{learned.get(name)}, this data set has {given.get(name)}: expected the same"
                )


def first_variables(
    config: EncoderConfig, encoder: Encoder, example: Batch, siblings: Path, seed: int
) -> dict[str, Any]:
    """Weights of a network before the first step: drawn from the seed, or stored ones that fit.

    Args:
        config: says which stored weights are loaded, of the whole network or of submodules.
        encoder: the network that `config` names.
        example: a batch to learn shapes from.
        siblings: folder of the experiment's runs.
        seed: of the run.

    Returns:
        `params` and, where the network has them, `batch_stats`.

    Raises:
        UserError: the stored network is missing, or does not fit.
    """
    variables = jax.jit(partial(init_variables, encoder))(jax.random.key(seed), example)
    if config.pretrained:
        stored = model_file.load(lender(config, siblings))
        if stored.encoder != config.name:  # a few layers of any two networks fit
            raise UserError(
                f"student.pretrained holds a {stored.encoder}, expected student.name {config.name}"
            )
        variables, fresh = model_file.fill(variables, stored.variables)
        print(
            f"{config.name}: weights loaded from {config.pretrained}; "
            f"{', '.join(fresh) or 'none'} initialised anew"
        )
    for part, origin in config.parts.items():
        if part not in variables["params"]:
            raise UserError(
                f"parts of {config.name}: there is no {part!r}, expected some of "
                f"{', '.join(variables['params'])}"
            )
        stored = model_file.load(run_or_folder(origin, siblings)).variables
        variables = model_file.replace_part(variables, part, stored)
    return variables
