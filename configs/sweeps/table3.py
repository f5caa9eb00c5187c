"""Table III of the paper: methods on UCF51, from sound to video.

    python -m sacd_jax.sweep --config configs/sweeps/table3.py --workdir runs/ucf51_tables \\
        --config.dataset.ucf51.videos=UCF-101 \\
        --config.dataset.ucf51.embeddings=audiocnn14embed512_features.tar.gz

There is no demo size: there are no simulated actions.
"""

from configs import ucf51_distill
from configs.sweeps.table2 import METHODS, NAMES
from sacd_jax.sweeps.sweep_config import Row, SweepConfig


def get_config() -> SweepConfig:
    """The sweep; there is nothing to choose."""
    experiment = ucf51_distill.get_config()
    baseline = experiment.runs["baseline"]
    rows = {"baseline": Row("R(2+1)D", baseline)}
    for method in METHODS:
        rows[method] = Row(NAMES.get(method, method), ucf51_distill.distilled(baseline, method))
    return SweepConfig(
        name="table3",
        title="Table III: UCF51, official split 1, video alone at test",
        dataset=experiment.dataset,
        rows=rows,
        teachers={"teacher": experiment.runs["teacher"]},
        seeds=(1, 2, 3),
        reference="R(2+1)D",
        paper="table3",
    )
