"""UCF51: a video network learns actions from sound (the paper's Table III; CCL's protocol).

    python -m sacd_jax.train --config configs/ucf51_distill.py --workdir runs/ucf51 \\
        --config.dataset.ucf51.videos=UCF-101 \\
        --config.dataset.ucf51.embeddings=audiocnn14embed512_features.tar.gz

`configs/ucf51_distill.py:crd` distils by another method, `configs/ucf51_distill.py:crd,r3d_18` into
another network; `configs/ucf51_distill.py:audio` needs no videos and trains the linear classifier
on the stored embeddings alone, the audio baseline.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config(choice: str = "sacd") -> ConfigDict:
    """`choice` is METHOD or METHOD,STUDENT.

    Names in `sacd_jax.objectives`, or audio, and in `sacd_jax.models`; the student of CCL's
    protocol is `ccl_r21d`.
    """
    method, _, student = choice.partition(",")
    config = ConfigDict()
    config.dataset = {
        "name": "ucf51",
        "ucf51": {"embeddings": placeholder(str), "videos": placeholder(str)},
    }

    video = {
        # CCL's has ten layers and starts from scratch.
        "student": {"name": student or "ccl_r21d", "options": {"replicas": 1}},
        "sampling": {"moments": 16, "mode": "consecutive"},
        "augment": {"crop": (112, 112), "scale": (0.25, 1.0), "ratio": (3 / 4, 4 / 3)},
        "batch_size": 16,
        "passes": 300.0,  # learning rate x 0.1 at half and three quarters
        "optimizer": {"name": "sgd", "learning_rate": 1e-3, "schedule": "step"},
        "seed": 1,
        # The validation clips are the test clips: CCL's choice of the best pass would look at them.
        "select": "last",
        "evaluate_every_passes": 10.0,
        "eval_batch_size": 32,
    }
    runs = {
        # The teacher's network is frozen in the stored vectors; this is its classifier.
        "teacher": {
            "task": "classify",
            "student": {"name": "audio_embedding"},
            "batch_size": 64,
            "passes": 50.0,
            "optimizer": {
                "name": "amsgrad",
                "learning_rate": 1e-3,
                "schedule": "one_cycle",
                "weight_decay": 1e-3,
            },
            "select": "last",
            "evaluate_every_passes": 10.0,
            "eval_batch_size": 256,
            "log_every_steps": 100,
        },
    }
    if method != "audio":
        runs["baseline"] = {"task": "classify", **video}
        runs[method] = {
            "task": "distill",
            **video,
            "teacher": {"name": "audio_embedding", "pretrained": "teacher"},
            "objective": {"name": method},
        }
    config.order = tuple(runs)
    config.runs = runs
    return config
