"""Both modalities at once (the paper's experiments A to D).

    python -m sacd_jax.train --config configs/s3ve_fusion.py:d --workdir runs/fusion \\
        --config.dataset.manifest=nights.csv

Fully connected layers over the embeddings of a video and an EEG network, which were trained alone
before, `video` and `eeg`: one layer in `a` and `c`, three in `b` and `d`; in `a` and `b` the
networks are frozen. `configs/s3ve_fusion.py:d,demo` takes the networks and the simulated nights of
the demo.
"""

from ml_collections import ConfigDict

from configs.s3ve_reverse import two_modalities
from input_pipeline.errors import UserError
from sacd_jax.config import RunConfig, with_defaults

EXPERIMENTS = {"a": (1, True), "b": (3, True), "c": (1, False), "d": (3, False)}
"""Letter -> fully connected layers, and whether the networks below are frozen."""


def get_config(choice: str = "d") -> ConfigDict:
    """`choice` is a, b, c or d, and after a comma paper or demo."""
    letter, _, size = choice.partition(",")
    if letter not in EXPERIMENTS:
        raise UserError(f"experiment {letter!r}: expected {', '.join(EXPERIMENTS)}")
    dataset, video, eeg = two_modalities(size or "paper")
    layers, frozen = EXPERIMENTS[letter]
    networks = {
        part: {"name": run["student"]["name"], "options": run["student"].get("options", {})}
        for part, run in (("first", video), ("second", eeg))
    }
    fused = {
        **video,
        "student": {
            "name": "fusion",
            "options": {**networks, "layers": layers, "frozen": frozen},
            "parts": {"first": "video", "second": "eeg"},
        },
        "optimizer": {
            **video["optimizer"],
            "learning_rate": 1e-2 if frozen else video["optimizer"]["learning_rate"],
            "factors": {"first": 0.0, "second": 0.0} if frozen else {},
        },
    }
    if not size or size == "paper":
        fused["passes"] = 100.0
    runs = {"video": video, "eeg": eeg, letter: fused}
    config = ConfigDict({"dataset": dataset, "order": tuple(runs)})
    config.runs = {name: with_defaults(RunConfig, run) for name, run in runs.items()}
    return config
