"""Distilling backwards, from video to EEG (the paper's experiments E, F and G).

    python -m sacd_jax.train --config configs/s3ve_reverse.py:f --workdir runs/reverse \\
        --config.dataset.manifest=nights.csv

`e`: SACD, the video network frozen; `f`: SACD, it trains as well; `g`: CCL, it trains as well. At
test all see EEG alone. In f and g both networks start from their own trainings, `video` and `eeg`.
`configs/s3ve_reverse.py:f,demo` takes the networks and the simulated nights of the demo.
"""

from ml_collections import ConfigDict

from configs import demo, s3ve_baseline, s3ve_teacher
from input_pipeline.errors import UserError
from sacd_jax.config import RunConfig, with_defaults

EXPERIMENTS = {"e": ("sacd", False), "f": ("sacd", True), "g": ("ccl", True)}
"""Letter -> method, and whether the video network trains."""


def two_modalities(size: str) -> tuple[dict, dict, dict]:
    """Data set, and the trainings of the video network and of the EEG network, each alone.

    Args:
        size: paper or demo.

    Raises:
        UserError: another size.
    """
    if size == "paper":
        video = {"task": "classify", **s3ve_baseline.recipe("r3d_18")}
        return s3ve_teacher.dataset(), video, s3ve_teacher.runs("attnsleep", "eeg")["eeg"]
    if size == "demo":
        config = demo.get_config().to_dict()
        return config["dataset"], config["runs"]["baseline"], config["runs"]["teacher"]
    raise UserError(f"size {size!r}: expected paper or demo")


def get_config(choice: str = "f") -> ConfigDict:
    """`choice` is e, f or g, and after a comma paper or demo."""
    letter, _, size = choice.partition(",")
    if letter not in EXPERIMENTS:
        raise UserError(f"experiment {letter!r}: expected {', '.join(EXPERIMENTS)}")
    dataset, video, eeg = two_modalities(size or "paper")
    method, trainable = EXPERIMENTS[letter]
    reverse = {
        **video,  # batch, frames and optimizer are those of the video network
        "task": "distill",
        "student": {**eeg["student"], "pretrained": "eeg" if trainable else ""},
        "teacher": {"name": video["student"]["name"], "pretrained": "video"},
        "teacher_trainable": trainable,
        "objective": {"name": method},
    }
    runs = {"video": video, "eeg": eeg, letter: reverse}
    config = ConfigDict({"dataset": dataset, "order": tuple(runs)})
    config.runs = {name: with_defaults(RunConfig, run) for name, run in runs.items()}
    return config
