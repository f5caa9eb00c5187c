"""Whether networks that a run borrows have learned from the nights that it is tested on.

A teacher of another split of the same study has seen some of the test nights with their stages; a
student that learns from it, or begins with its weights, would be tested on what it was told.
"""

from pathlib import Path

import numpy as np

from input_pipeline.datasets.dataset_files import (
    INFO_FILE,
    SPLITS_FILE,
    ClipTable,
    read_info,
    read_table,
)
from input_pipeline.errors import UserError
from sacd_jax.config import RunConfig
from sacd_jax.runs import run_folder
from sacd_jax.runs.lending import run_or_folder
from sacd_jax.runs.run_folder import RunFolder

ALIKE = 0.9
"""Share of clips of one name whose stages agree where both tables are of one study: names such as
n01 may be those of another, and a few stages may have been corrected."""


def check(run: RunConfig, siblings: Path, dataset: Path) -> None:
    """Refuses a run that borrows what was learned from its test nights, however indirectly.

    Converted weights say nothing of nights, nor does a run whose data set is gone; they pass.

    Args:
        run: about to be trained.
        siblings: folder of the experiment's runs.
        dataset: of the run.

    Raises:
        UserError: names the run that lends, and what to do.
    """
    lenders = _lenders(run, siblings, {})
    if not lenders:
        return
    info = read_info(dataset)
    tested = read_table(dataset, info, "test")
    for folder, theirs in lenders.items():
        if not (theirs / INFO_FILE).is_file():
            continue
        other = read_info(theirs)
        if other.fingerprint == info.fingerprint:
            continue
        count = len(shared_nights(read_table(theirs, other, "train"), tested))
        if count:
            raise UserError(
                f"{folder.name}, whose network is borrowed, has learned from {count} of the "
                f"{len(np.unique(tested.night_id))} nights that this run is tested on: its data "
                "set was split otherwise; train it on this data set, or build this one by its "
                f"split (dataset.split_file {theirs / SPLITS_FILE})"
            )


def shared_nights(one: ClipTable, other: ClipTable) -> set[str]:
    """Nights of which both tables hold clips; none where names are shared by chance."""
    stages = _stages(one), _stages(other)
    both = stages[0].keys() & stages[1].keys()
    agree = sum(stages[0][clip] == stages[1][clip] for clip in both)
    return {night for night, _ in both} if agree >= ALIKE * len(both) else set()


def _stages(table: ClipTable) -> dict[tuple[str, int], int]:
    columns = (table.night_id.tolist(), table.clip_index.tolist(), table.stage.tolist())
    return {(night, clip): stage for night, clip, stage in zip(*columns, strict=True)}


def _lenders(run: RunConfig, siblings: Path, found: dict[Path, Path]) -> dict[Path, Path]:
    """Folders of the runs that lend to `run`, and to those in turn -> their data sets."""
    encoders = [encoder for encoder in (run.student, run.teacher) if encoder is not None]
    origins = [run.embeddings_of, *(encoder.pretrained for encoder in encoders)]
    origins += [origin for encoder in encoders for origin in encoder.parts.values()]
    for origin in filter(None, origins):
        folder = run_or_folder(origin, siblings).resolve()
        if RunFolder(folder.parent).model.resolve() == folder:
            folder = folder.parent
        if folder in found or not RunFolder(folder).config.exists():
            continue
        recipe, found[folder] = run_folder.read_run(folder)
        _lenders(recipe, folder.parent, found)
    return found
