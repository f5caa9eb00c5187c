"""A sweep of seconds: a teacher, a student alone and a distilled one on made-up clips."""

from dataclasses import replace

from sacd_jax.config import OptimizerConfig
from sacd_jax.sweeps.sweep_config import Row, SweepConfig
from tests.multi_process import toy


def get_config(manifest: str = "nights.csv") -> SweepConfig:
    """`manifest` is that of a `fake_nights.fake_dataset`."""
    experiment = toy.get_config(manifest)
    sacd = replace(
        experiment.runs["sacd"],
        optimizer=OptimizerConfig(),
        # Some seconds of training, so that it can be stopped in their midst.
        passes=100.0,
        evaluate_every_passes=25.0,
        checkpoint_every_passes=10.0,
    )
    alone = replace(sacd, task="classify", teacher=None, teacher_cache=False, objective=None)
    return SweepConfig(
        name="toy",
        dataset=experiment.dataset,
        rows={"baseline": Row("student", alone), "sacd": Row("SACD", sacd, "MLP")},
        teachers={"teacher": experiment.runs["teacher"]},
        seeds=(0,),
        reference="student",
    )
