"""Table III of the paper: methods on UCF51, from sound to video.

    python -m sacd_jax.sweep --config configs/sweeps/table3.py --workdir runs/ucf51_tables \\
        --config.dataset.ucf51.videos=UCF-101 \\
        --config.dataset.ucf51.embeddings=audiocnn14embed512_features.tar.gz

There is no demo size: there are no simulated actions.
"""

from ml_collections import ConfigDict

from configs import ucf51_distill
from configs.sweeps.table2 import METHODS, NAMES
from sacd_jax.config import RunConfig, with_defaults


def get_config() -> ConfigDict:
    """No argument."""
    experiment = ucf51_distill.get_config()
    runs = experiment.runs.to_dict()
    rows = {"baseline": {"name": "R(2+1)D"}}
    for method in METHODS:
        rows[method] = {
            "name": NAMES.get(method, method),
            "run": {
                "task": "distill",
                "teacher": runs["sacd"]["teacher"],
                "objective": {"name": method},
            },
        }
    return ConfigDict(
        {
            "name": "table3",
            "title": "Table III: UCF51, official split 1, video alone at test",
            "dataset": experiment.dataset,
            "teachers": {"teacher": with_defaults(RunConfig, runs["teacher"])},
            "row": with_defaults(RunConfig, runs["baseline"]),
            "rows": rows,
            "order": tuple(rows),
            "seeds": (1, 2, 3),
            "reference": "R(2+1)D",
            "paper": "table3",
        }
    )
