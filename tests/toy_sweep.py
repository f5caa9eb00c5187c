"""A sweep of seconds: a teacher, a student alone and a distilled one on made-up clips."""

from ml_collections import ConfigDict

from sacd_jax.config import RunConfig, with_defaults
from tests.multi_process import toy


def get_config(manifest: str = "nights.csv") -> ConfigDict:
    """`manifest` is that of a `fake_nights.fake_dataset`."""
    experiment = toy.get_config(manifest).to_dict()
    teacher, distilled = experiment["runs"]["teacher"], experiment["runs"]["sacd"]
    # Some seconds of training, so that it can be stopped in their midst.
    long = {"passes": 100.0, "evaluate_every_passes": 25.0, "checkpoint_every_passes": 10.0}
    shared = ("sampling", "batch_size", "log_every_steps", "student")
    row = {"task": "classify", **{key: distilled[key] for key in shared}, **long}
    own = ("task", "teacher", "teacher_cache", "objective")
    rows = {
        "baseline": {"name": "student"},
        "sacd": {
            "name": "SACD",
            "group": "MLP",
            "run": {key: distilled[key] for key in own},
        },
    }
    return ConfigDict(
        {
            "name": "toy",
            "dataset": experiment["dataset"],
            "teachers": {"teacher": teacher},
            "row": with_defaults(RunConfig, row),
            "rows": rows,
            "order": tuple(rows),
            "seeds": (0,),
            "reference": "student",
        }
    )
