"""The study: what distillation from EEG is worth on 105 simulated subjects, judged beforehand.

    python -m sacd_jax.sweep --config configs/sweeps/simulated_study.py --workdir runs/study

Parts of it by `--rows`: `'baseline*,sacd*,method-*'`, `'long*'`, `'labels*'`, `'control*'`,
`'keys*'`, `'terms*'`. The judgement is fixed before the first run
(`runs/study/simulated_study.preregistered.json`) and every later call is held to it.
`configs/sweeps/simulated_study.py:size=demo` has the demo's miniature nights and one pass; its
figures mean nothing.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from configs import demo
from input_pipeline.splits import SplitSettings
from sacd_jax.command_line import one_of
from sacd_jax.config import Control, EncoderConfig, ObjectiveConfig, RunConfig
from sacd_jax.sweeps.sweep_config import Judgement, Row, SweepConfig

REFERENCE = "plain student"
"""Cross-entropy on the same labels: what every row of a group is judged against."""

FOLDS = 4

# Written out: a method that is added later must not change a study that is under way.
METHODS = (
    *("fitnet", "pkt", "rkd", "crd", "ifd", "cmc", "ccl", "sacd_released"),
    *("kd", "kd_standardised", "dist", "c2kd", "mgdfr"),
)
"""Beside SACD."""

TERMS: dict[str, tuple[dict[str, float], dict[str, Any]]] = {
    "L_C and JSD": ({"graph": 0.0}, {}),
    "L_D and L_C": ({"jsd": 0.0}, {}),
    "L_D and JSD": ({"contrast": 0.0}, {}),
    "JSD alone": ({"graph": 0.0, "contrast": 0.0}, {}),
    "L_C alone": ({"graph": 0.0, "jsd": 0.0}, {}),
    "L_C alone, all negatives": ({"graph": 0.0, "jsd": 0.0}, {"hardest_share": 1.0}),
    "L_C alone, a tenth": ({"graph": 0.0, "jsd": 0.0}, {"hardest_share": 0.1}),
    "L_C alone, semi-hard": ({"graph": 0.0, "jsd": 0.0}, {"negatives": "semi_hard"}),
    "L_C alone, InfoNCE": (
        {"graph": 0.0, "jsd": 0.0},
        {"hardest_share": 1.0, "temperature": 0.1},
    ),
}
"""Row -> weights and options of SACD."""


def get_config(size: str = "full") -> SweepConfig:
    """The sweep; `size` is full or demo."""
    small = one_of("size", size, ("full", "demo")) == "demo"
    experiment = demo.get_config("miniature" if small else "full")
    simulation = experiment.dataset.simulation
    assert simulation is not None
    dataset = experiment.dataset
    if not small:
        # Of 27, 26, 26 and 26 subjects by AHI group, 64 train, 16 validate and 25 test.
        split = SplitSettings(seed=0, test_fraction=0.23, validation_fraction=0.2)
        dataset = replace(dataset, simulation=replace(simulation, nights=105), split=split)
    passes = 1.0 if small else 6.0
    short = {"passes": passes, "evaluate_every_passes": passes / 3}
    short["checkpoint_every_passes"] = passes / 3
    baseline = replace(experiment.runs["baseline"], **short)
    sacd = experiment.runs["sacd"].objective
    assert sacd is not None

    def distilled(
        method: str = "sacd", weights: Mapping[str, float] | None = None, **changes: Any
    ) -> RunConfig:
        options = {**(sacd.options if method == "sacd" else {}), **changes.pop("options", {})}
        return replace(
            baseline,
            task="distill",
            teacher=EncoderConfig("attnsleep", pretrained="teacher"),
            teacher_cache=True,
            measure_terms=True,
            objective=ObjectiveConfig(method, options, dict(weights or {})),
            key_encoder_decay=0.99,
            **{"teacher_folds": FOLDS, **changes},
        )

    rows = {
        "baseline": Row(REFERENCE, baseline),
        "sacd": Row("SACD", distilled()),
        "sacd-whole": Row("SACD, teacher knows its clips", distilled(teacher_folds=0)),
    }
    for name, run in demo.rivals().items():
        rows[f"method-{name}"] = Row(name, run, "methods")
    for method in METHODS:
        rows[f"method-{method}"] = Row(method, distilled(method), "methods")
    # A student that has learned enough to be held against the rival.
    long, group = _times(short, 3), f"{3 * passes:g} passes"
    rows["long-baseline"] = Row(REFERENCE, replace(baseline, **long), group)
    rows["long-sacd"] = Row("SACD", distilled(**long), group)
    rows["long-kd"] = Row("KD", distilled("kd", **long), group)
    for name, run in demo.rivals().items():
        rows[f"long-{name}"] = Row(name, run, group)
    for count, share in {4: 4 / 64, 16: 16 / 64}.items():
        group = f"labels of {count}"
        few = {"label_fraction": share, "unlabelled": "distill"}
        # As many steps as with all labels.
        alone = replace(baseline, label_fraction=share, **_times(short, 1 / share))
        rows[f"labels{count}-baseline"] = Row(REFERENCE, alone, group)
        rows[f"labels{count}-sacd"] = Row("SACD", distilled(**few), group)
        rows[f"labels{count}-kd"] = Row("KD", distilled("kd", **few), group)
    none = {"label_fraction": 0.0, "unlabelled": "distill"}
    for method, name in {"sacd": "SACD", "kd": "KD"}.items():
        rows[f"labels0-{method}"] = Row(name, distilled(method, **none), "no labels")
    for control in get_args(Control):
        if control != "none":
            run = distilled(teacher_control=control)
            rows[f"control-{control}"] = Row(f"SACD, {control}", run, "controls")
    cheaper = {
        "keys-student": ("SACD, the student's own keys", {"options": {"key_encoder": "student"}}),
        "keys-every-2": ("SACD, keys in every other step", {"key_encoder_every": 2}),
    }
    for key, (name, changes) in cheaper.items():
        rows[key] = Row(name, distilled(**changes), "keys")
    for number, (name, (weights, options)) in enumerate(TERMS.items()):
        run = distilled(weights=weights, options=options)
        rows[f"terms{number}"] = Row(name, run, "terms")
    teacher = experiment.runs["teacher"]
    if small:  # a fold of its four training subjects has fewer clips than the demo's batch
        teacher = replace(teacher, batch_size=32)
    return SweepConfig(
        name="simulated_study",
        title="Simulated nights: what distillation from EEG is worth",
        dataset=dataset,
        rows=rows,
        teachers={"teacher": teacher},
        seeds=(0, 1, 2, 3, 4),
        reference=REFERENCE,
        judgement=Judgement(),
        notes=(
            "Accuracy decides because each test subject has it whatever the stages of an hour are; "
            "macro F1 and kappa of an hour hang on the stages that occur in it.",
            f"Teachers are those of {FOLDS} folds where nothing else is said: none saw the "
            "subject that it speaks of.",
        ),
    )


def _times(settings: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in settings.items()}
