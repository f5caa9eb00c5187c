"""A sweep of under a minute: a teacher on simulated EEG, a student alone and a distilled one."""

from ml_collections import ConfigDict

from configs import demo
from sacd_jax.config import RunConfig, with_defaults


def get_config() -> ConfigDict:
    """No argument."""
    dataset = demo.get_config("miniature").dataset.to_dict()
    row = {
        "task": "classify",
        "student": {"name": "r2plus1d_small", "options": {"width": 0.0625, "embedding_dim": 32}},
        "sampling": {"moments": 4},
        "augment": {"crop": (40, 48)},
        "batch_size": 16,
        "passes": 12.0,
        "evaluate_every_passes": 4.0,
        "checkpoint_every_passes": 2.0,
        "log_every_steps": 1,
        "optimizer": {"learning_rate": 0.02},
    }
    teacher = {
        "task": "classify",
        "student": {"name": "mlp", "options": {"width": 16, "embedding_dim": 32}},
        "batch_size": 16,
        "passes": 1.0,
    }
    rows = {
        "baseline": {"name": "R(2+1)D"},
        "pkt": {
            "name": "PKT",
            "group": "MLP",
            "run": {
                "task": "distill",
                "teacher": {"name": "mlp", "pretrained": "teacher"},
                "teacher_cache": True,
                "objective": {"name": "pkt"},
            },
        },
    }
    return ConfigDict(
        {
            "name": "toy",
            "dataset": dataset,
            "teachers": {"teacher": with_defaults(RunConfig, teacher)},
            "row": with_defaults(RunConfig, row),
            "rows": rows,
            "order": tuple(rows),
            "seeds": (0,),
            "reference": "R(2+1)D",
        }
    )
