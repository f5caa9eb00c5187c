"""The demo: simulated nights, an EEG teacher, a video student with and without SACD.

    python -m sacd_jax.train --config configs/demo.py --workdir runs/demo

On 2 CPU cores it takes under 12 minutes. `configs/demo.py:miniature` goes the same way with toy
sizes in under 2 minutes; its figures mean nothing.
"""

from ml_collections import ConfigDict


def get_config(size: str = "full") -> ConfigDict:
    """`size` is full or miniature."""
    miniature = {"full": False, "miniature": True}[size]
    config = ConfigDict()

    config.dataset = {
        "name": "simulated",
        "simulation": {
            "nights": 12 if miniature else 24,
            "hours": 0.25 if miniature else 1.0,
            "height": 48,
            "width": 56,
            "frame_rate": 2.0,
            "seed": 0,
        },
        "clips": {"frame_rate": 2.0, "height": 48, "width": 56},
        # A third of the subjects tests, so that an interval over subjects says something.
        "split": {"seed": 0, "test_fraction": 1 / 3, "validation_fraction": 0.25},
    }

    student = {
        "name": "r2plus1d_small",
        "options": {"video_input": "differences", "lags": 3},
    }
    # Two later frames less the first, at 16 moments: movement over half a second and a second.
    sampling = {"moments": 16, "lags_s": (0.0, 0.5, 1.0)}
    video = {
        "student": student,
        "sampling": sampling,
        "augment": {"crop": (40, 48), "flip": 0.5},
        "batch_size": 32,
        "passes": 1.0 if miniature else 12.0,
        "optimizer": {
            "name": "sgd",
            "learning_rate": 0.05,
            "schedule": "one_cycle",
            "weight_decay": 5e-4,
            "clip_norm": 5.0,
        },
    }

    config.order = ("teacher", "baseline", "sacd")
    config.runs = {
        "teacher": {
            "task": "classify",
            "student": {
                "name": "attnsleep",
                "options": {"eeg_scale": 20.0},
            },
            "class_weights": "attnsleep",
            "batch_size": 64,
            "passes": 1.0 if miniature else 10.0,
            "optimizer": {
                "name": "amsgrad",
                "learning_rate": 2e-3,
                "schedule": "one_cycle",
                "weight_decay": 1e-3,
            },
        },
        "baseline": {"task": "classify", **video},
        "sacd": {
            "task": "distill",
            **video,
            "teacher": {"name": "attnsleep", "pretrained": "teacher"},
            "objective": {"name": "sacd"},
            # 0.999 would average over the whole of so short a run.
            "key_encoder_decay": 0.99,
        },
    }
    return config
