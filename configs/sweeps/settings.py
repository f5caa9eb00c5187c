"""What the sweeps share: data, student, teachers and their sizes.

The keys of rows mean the same run in every sweep, so several may share one workdir and with it the
teachers, the baseline and SACD at the paper's weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from configs import demo, s3ve_baseline, s3ve_teacher
from input_pipeline.datasets.settings import DatasetSettings
from sacd_jax.command_line import one_of
from sacd_jax.config import EncoderConfig, ObjectiveConfig, RunConfig
from sacd_jax.sweeps.sweep_config import Row

TEACHERS = {
    "attnsleep": "AttnSleep",
    "deepsleepnet": "DeepSleepNet",
    "sen": "Modified-SEN",
}
"""Name of a teacher's run, which is its network's -> its name in the table."""

DEMO_TEACHERS: dict[str, dict[str, Any]] = {
    "deepsleepnet_features": {"passes": 6.0, "rate": 1e-3, "options": {"norm_decay": 0.9}},
    "deepsleepnet": {
        "passes": 20.0,
        "rate": 3e-4,
        "options": {"norm_decay": 0.9},
        "batch_size": 100,
    },
    "sen": {"passes": 10.0, "rate": 1e-3},
}
"""Network -> what differs from its recipe at demo size; `rate` is the highest learning rate."""

DEMO_PASSES = 6.0
"""Of a student at demo size: a run takes at most a minute on 2 cores."""


@dataclass(frozen=True)
class Size:
    """What a size of the sweeps stands for.

    Attributes:
        dataset: that all runs share.
        baseline: the training of the student alone.
        recipes: network of a teacher -> its training.
        options: method -> options that it has at this size.
        notes: sentences below every table.
    """

    dataset: DatasetSettings
    baseline: RunConfig
    recipes: Mapping[str, RunConfig]
    options: Mapping[str, Mapping[str, Any]]
    notes: tuple[str, ...]

    @property
    def rivals(self) -> dict[str, Row]:
        """The rows of what is no network."""
        names = {"rival": "the rival", "rival_neighbours": "the rival, with neighbouring clips"}
        return {key: Row(names[key], run, "no network") for key, run in demo.rivals().items()}

    def teachers(self, *names: str) -> dict[str, RunConfig]:
        """Run -> training of the teachers, keys of `TEACHERS`, and of their first stages."""
        return {
            run: training
            for name in names
            for run, training in s3ve_teacher.runs(name, name, self.recipes).items()
        }

    def distilled(
        self,
        teacher: str,
        method: str,
        weights: Mapping[str, float] | None = None,
        **options: Any,
    ) -> RunConfig:
        """The training of the student with a method of distillation.

        Args:
            teacher: a key of `TEACHERS`.
            method: a name in `sacd_jax.objectives`.
            weights: of loss terms, where they are not the method's own.
            options: of the method, beside those of the size.
        """
        options = {**self.options.get(method, {}), **options}
        return replace(
            self.baseline,
            task="distill",
            teacher=EncoderConfig(teacher, pretrained=teacher),
            teacher_cache=True,
            objective=ObjectiveConfig(method, options, dict(weights or {})),
        )


def of_size(size: str) -> Size:
    """Data, student and teachers of a size, paper or demo."""
    if one_of("size", size, ("paper", "demo")) == "paper":
        student = s3ve_baseline.recipe("r2plus1d_18")
        return Size(s3ve_teacher.dataset(), student, s3ve_teacher.RECIPES, {}, ())
    experiment = demo.get_config()
    sacd = experiment.runs["sacd"]
    assert sacd.objective is not None
    baseline = replace(
        demo.at_few_moments(experiment.runs["baseline"]),
        key_encoder_decay=sacd.key_encoder_decay,
        passes=DEMO_PASSES,
        evaluate_every_passes=DEMO_PASSES / 2,
        checkpoint_every_passes=DEMO_PASSES / 2,
    )
    height, width = baseline.augment.crop
    notes = (
        f"Demo size: the student is {baseline.student.name} on frames of {height}x{width} at "
        f"{baseline.sampling.moments} moments, {DEMO_PASSES:g} passes; the paper's is R(2+1)D-18 "
        "on 112x112, 80 passes.",
        "In so few steps the graph networks do not learn, and SACD's L_D hardly acts "
        "(docs/structure-graphs.md).",
    )
    recipes = demo_teachers(experiment.runs["teacher"])
    return Size(experiment.dataset, baseline, recipes, {"sacd": sacd.objective.options}, notes)


def demo_teachers(attnsleep: RunConfig) -> dict[str, RunConfig]:
    """The teachers' recipes in fewer passes, with one cycle of the learning rate.

    Args:
        attnsleep: the demo's.
    """
    recipes = {"attnsleep": attnsleep}
    for name, changes in DEMO_TEACHERS.items():
        recipe, changes = s3ve_teacher.RECIPES[name], dict(changes)
        rate, own = changes.pop("rate"), recipe.student.options
        options = {**own, "eeg_scale": 20.0, **changes.pop("options", {})}
        recipes[name] = replace(
            recipe,
            **changes,
            student=replace(recipe.student, options=options),
            optimizer=replace(recipe.optimizer, learning_rate=rate, schedule="one_cycle"),
        )
    return recipes
