"""Both modalities at once (the paper's experiments A to D).

    python -m sacd_jax.train --config configs/s3ve_fusion.py:experiment=d --workdir runs/fusion \\
        --config.dataset.manifest=nights.csv

Fully connected layers over the embeddings of a video and an EEG network, which were trained alone
before, `video` and `eeg`: one layer in `a` and `c`, three in `b` and `d`; in `a` and `b` the
networks are frozen. `configs/s3ve_fusion.py:experiment=d,size=demo` takes the networks and the
simulated nights of the demo.
"""

from dataclasses import replace

from configs.s3ve_reverse import two_modalities
from sacd_jax.command_line import one_of
from sacd_jax.config import EncoderConfig, Experiment

EXPERIMENTS = {"a": (1, True), "b": (3, True), "c": (1, False), "d": (3, False)}
"""Letter -> fully connected layers, and whether the networks below are frozen."""


def get_config(experiment: str = "d", size: str = "paper") -> Experiment:
    """The experiment.

    Args:
        experiment: a, b, c or d.
        size: paper or demo.
    """
    layers, frozen = EXPERIMENTS[one_of("experiment", experiment, EXPERIMENTS)]
    dataset, video, eeg = two_modalities(size)
    networks = {
        part: {"name": run.student.name, "options": run.student.options}
        for part, run in (("first", video), ("second", eeg))
    }
    optimizer = video.optimizer
    if frozen:
        still = {"first": 0.0, "second": 0.0}
        optimizer = replace(optimizer, learning_rate=1e-2, factors=still)
    fused = replace(
        video,
        student=EncoderConfig(
            "fusion",
            {**networks, "layers": layers, "frozen": frozen},
            parts={"first": "video", "second": "eeg"},
        ),
        optimizer=optimizer,
        passes=100.0 if size == "paper" else video.passes,
    )
    return Experiment(dataset, {"video": video, "eeg": eeg, experiment: fused})
