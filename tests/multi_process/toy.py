"""An experiment of seconds: a teacher and a student that learns from it, on made-up clips."""

from ml_collections import ConfigDict

from sacd_jax.config import RunConfig, as_json, with_defaults
from tests.input_pipeline.fake_nights import SETTINGS


def get_config(argument: str) -> ConfigDict:
    """`argument` is the manifest of a `fake_nights.fake_dataset`.

    After a second colon, the student's network: mlp, or r2plus1d_small, which takes long to compile
    and whose BatchNorm, beside SACD's graphs, looks at the clips of all processes.
    """
    manifest, _, network = argument.partition(":")
    shared = {
        "sampling": {"moments": 4},
        "batch_size": 16,
        "passes": 2.0,
        "log_every_steps": 1,
        "optimizer": {"learning_rate": 0.01},
    }
    options = {"group_size": 4, "bank_size": 24, "hardest": 8}
    weights = {}
    if network == "r2plus1d_small":
        student = {"name": network, "options": {"stem_patch": 2, "embedding_dim": 12}}
        options["graph"] = {"message_dim": 8, "update_dim": 8, "graph_dim": 8}
    else:
        inputs = {"input_key": "video", "width": 8, "embedding_dim": 12}
        student, weights = {"name": "mlp", "options": inputs}, {"graph": 0.0}
    runs = {
        "teacher": {
            "task": "classify",
            "student": {"name": "mlp", "options": {"width": 8, "embedding_dim": 12}},
            "optimizer": {"learning_rate": 1e-4},  # its input are microvolts, far from 1
        },
        "sacd": {
            "task": "distill",
            "student": student,
            "teacher": {"name": "mlp", "pretrained": "teacher"},
            "teacher_cache": True,
            "objective": {"name": "sacd", "options": options, "weights": weights},
        },
    }
    return ConfigDict(
        {
            "dataset": {"name": "s3ve", "manifest": manifest, "clips": as_json(SETTINGS)},
            "order": tuple(runs),
            "runs": {name: with_defaults(RunConfig, shared | run) for name, run in runs.items()},
        }
    )
