"""The demo: simulated nights, an EEG teacher, a video student with and without SACD.

    python -m sacd_jax.train --config configs/demo.py --workdir runs/demo

On 2 CPU cores it takes under 12 minutes. `configs/demo.py:miniature` goes the same way with toy
sizes in under 2 minutes; its figures mean nothing.
"""

from ml_collections import ConfigDict

from sacd_jax.config import RunConfig, with_defaults


def get_config(size: str = "full") -> ConfigDict:
    """`size` is full or miniature."""
    miniature = {"full": False, "miniature": True}[size]
    config = ConfigDict()

    config.dataset = {
        "name": "simulated",
        "simulation": {
            "nights": 12 if miniature else 28,
            # An hour of each subject's night in two windows, cut at random from the whole of it.
            "hours": 0.15 if miniature else 0.5,
            "windows": 1 if miniature else 2,
            "height": 48,
            "width": 56,
            "frame_rate": 2.0,
            "seed": 0,
        },
        "clips": {"frame_rate": 2.0, "height": 48, "width": 56},
        # In each AHI group 4 subjects train, 1 validates and 2 test.
        "split": {"seed": 0, "test_fraction": 0.25, "validation_fraction": 0.2},
    }

    student = {
        "name": "r2plus1d_small",
        "options": {"video_input": "differences", "lags": 3, "stem_patch": 8},
    }
    # Two later frames less the first, at 16 moments: movement over half a second and a second.
    sampling = {"moments": 16, "lags_s": (0.0, 0.5, 1.0)}
    video = {
        "student": student,
        "sampling": sampling,
        "augment": {"crop": (40, 48), "flip": 0.5},
        "batch_size": 32,
        "passes": 1.0 if miniature else 20.0,
        "optimizer": {
            "name": "sgd",
            "learning_rate": 0.05,
            "schedule": "one_cycle",
            "weight_decay": 5e-4,
            "clip_norm": 5.0,
        },
    }

    config.order = ("teacher", "baseline", "sacd")
    runs = {
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
            # At the student's rate all graphs become one vector and L_D loses its signal.
            "objective": {"name": "sacd", "options": {"graph_learning_rate": 1e-4}},
            # 0.999 would average over the whole of so short a run.
            "key_encoder_decay": 0.99,
        },
    }
    config.runs = {name: with_defaults(RunConfig, run) for name, run in runs.items()}
    return config
