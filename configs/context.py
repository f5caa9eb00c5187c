"""The demo and its rival, and each network once more with context over the night.

    for run in teacher baseline sacd; do
      python -m sacd_jax.evaluate --workdir runs/demo/$run --split train
    done
    python -m sacd_jax.train --config configs/context.py --workdir runs/demo

In the folder of a finished demo the first lines store what each network says of the training clips
(what it says of the others is there). The last trains small networks over the nights on that, with
all of the night (`sacd_context`) and with nothing of what is to come (`sacd_causal`), and writes
the report again. `miniature` and `seed` are those of the demo;
`--config.runs.sacd_causal.student.options.look_ahead=4` sees two minutes ahead.
"""

from dataclasses import replace

from configs import demo
from sacd_jax.config import EncoderConfig, Experiment, OptimizerConfig, RunConfig


def context(embeddings_of: str, look_ahead: int | None = None, seed: int = 0) -> RunConfig:
    """A training over nights.

    Args:
        embeddings_of: the run whose stored embeddings it reads; a name or a folder.
        look_ahead: clips, see `sacd_jax.models.context.Context`.
        seed: of the training.
    """
    return RunConfig(
        task="classify",
        student=EncoderConfig("context", {"look_ahead": look_ahead}),
        embeddings_of=embeddings_of,
        seed=seed,
        batch_mode="sequences",
        consecutive_clips=120,
        batch_size=960,
        passes=40.0,
        optimizer=OptimizerConfig(
            "adamw", learning_rate=2e-3, schedule="one_cycle", weight_decay=1e-2, clip_norm=1.0
        ),
    )


def get_config(size: str = "full", seed: int = 0) -> Experiment:
    """The experiment.

    Args:
        size: full or miniature.
        seed: of nights, split and trainings.
    """
    experiment = demo.get_config(size, seed)
    runs = dict(experiment.runs)
    for name in ("teacher", "baseline", "sacd"):
        runs[f"{name}_context"] = context(name, seed=seed)
        runs[f"{name}_causal"] = context(name, look_ahead=0, seed=seed)
    return replace(experiment, runs=runs)
