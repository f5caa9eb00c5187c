"""The networks' rival: gradient boosting on breathing and movement, by plain signal processing.

It sees all stored frames of the clips, learns from the labels of the same training subjects, and
stands in every table: a network that does not beat it has not earned its cost. The classifier has
scikit-learn's own settings. It is learned anew where it is asked, and always the same, so that
none needs to be stored.
"""

import functools
from pathlib import Path

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from input_pipeline.split_features import split_features, with_neighbours
from sacd_jax.config import RunConfig
from sacd_jax.training.watchdog import alive

NAME = "breathing_and_movement"
"""What `student.name` of a run with task `boost` says."""


def outputs(run: RunConfig, dataset: Path, split: str) -> dict[str, np.ndarray]:
    """What the rival, learned on the train split, says of a split; the form of `Evaluator`.

    Args:
        run: `student.options` may have `neighbours`, odd numbers of clips over which means of the
            features are shown as well; `seed` is the classifier's.
        dataset: a built data set.
        split: to be predicted.

    Returns:
        logits f32[N,C] (logarithms of probabilities), embedding f32[N,D] (the features), stage
        i32[N], index i32[N].

    Raises:
        UserError: a student that is not known, data without labels, or clips without a grey video.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # slow to import
    from threadpoolctl import threadpool_limits

    lengths = _neighbours(run)
    train = open_split(dataset, "train").with_labels_of(run.label_fraction, run.seed)
    asked = open_split(dataset, split)
    labelled = train.table.stage >= 0
    if not labelled.any():
        raise UserError(f"no clip of the train split of {dataset.name} has a stage to learn from")
    known = with_neighbours(_features(dataset, "train"), train.table, lengths)
    unknown = with_neighbours(_features(dataset, split), asked.table, lengths)
    model = HistGradientBoostingClassifier(random_state=run.seed)
    with threadpool_limits(1):  # its threads wait for each other by spinning: cores may be shared
        model.fit(known[labelled], train.table.stage[labelled])
        found = model.predict_proba(unknown)
    probabilities = np.zeros((len(unknown), len(train.info.classes)))
    probabilities[:, model.classes_] = found
    return {
        "logits": np.log(np.maximum(probabilities, 1e-30)).astype(np.float32),
        "embedding": unknown.astype(np.float32),
        "stage": asked.table.stage.astype(np.int32),
        "index": np.arange(len(unknown), dtype=np.int32),
    }


@functools.lru_cache(maxsize=4)  # of the splits of one data set, for all its runs
def _features(dataset: Path, split: str) -> np.ndarray:
    return split_features(dataset, split, then=alive)


def _neighbours(run: RunConfig) -> tuple[int, ...]:
    name, options = run.student.name, dict(run.student.options)
    if name != NAME:
        raise UserError(f"student.name is {name!r}, expected {NAME!r} for task 'boost'")
    lengths = options.pop("neighbours", ())
    if options:
        raise UserError(f"student.options has {next(iter(options))!r}, expected neighbours alone")
    numbers = isinstance(lengths, tuple) and all(
        type(n) is int and n % 2 and 1 < n < 1000 for n in lengths
    )
    if not numbers:
        raise UserError("student.options.neighbours: expected odd numbers of clips, 3 to 999")
    return lengths
