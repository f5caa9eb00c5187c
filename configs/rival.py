"""The demo, and beside its networks the rival: breathing and movement by plain signal processing.

    python -m sacd_jax.train --config configs/rival.py --workdir runs/demo

In the folder of a finished demo only the rival's two runs are new, in some two minutes on two busy
cores; then the report is written again, with them in every table. `miniature` and `seed` are those
of the demo.
"""

from dataclasses import replace

from configs import demo
from sacd_jax.config import EncoderConfig, Experiment, RunConfig


def get_config(size: str = "full", seed: int = 0) -> Experiment:
    """The experiment.

    Args:
        size: full or miniature.
        seed: of nights, split and trainings.
    """
    experiment = demo.get_config(size, seed)
    rival = RunConfig("boost", EncoderConfig("breathing_and_movement"), seed=seed)
    around = replace(
        rival, student=EncoderConfig("breathing_and_movement", {"neighbours": (5, 15)})
    )
    teacher, *students = experiment.runs.items()
    runs = dict([teacher, ("rival", rival), ("rival_neighbours", around), *students])
    return replace(experiment, runs=runs)
