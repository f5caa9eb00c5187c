"""How the network of a finished run did on its test subjects, in words for the page of a night."""

import math
from collections.abc import Mapping

from input_pipeline.errors import UserError
from input_pipeline.stages import STAGES
from sacd_jax.metrics import count_confusion, from_confusion
from sacd_jax.runs import predictions, run_folder
from sacd_jax.runs.run_folder import RunFolder

HARDLY = 0.1
"""A stage of which less than this share is found."""


def how_tested(folder: RunFolder, weights: str) -> dict[str, str]:
    """What a run's predictions on the test subjects say of its network.

    Args:
        folder: of the run; of a model that was copied away alone it has no predictions.
        weights: identity of the network, see `model_file.identity`.

    Returns:
        name of a fact -> the fact.

    Raises:
        UserError: the file of predictions is broken.
    """
    name, path = folder.path.name, folder.predictions("test")
    if not path.is_file():
        return {"tested": "not known: there are no predictions on test subjects beside the model"}
    origin = predictions.read_origin(name, path)
    if origin.get("weights") != weights:
        return {"tested": "not known: the predictions on test subjects are another network's"}
    found = predictions.read(name, path)
    scored = found.stage >= 0
    if not scored.any():
        return {"tested": "not known: nobody scored the test subjects"}
    people = len(set(found.subject_id[scored].tolist()))
    figures = from_confusion(count_confusion(found.stage, found.predicted, len(STAGES)))
    recall = dict(zip(STAGES, figures["recall"], strict=True))
    known = {stage: share for stage, share in recall.items() if not math.isnan(share)}
    hardly = [stage for stage, share in known.items() if share < HARDLY]
    return {
        "tested": f"on {figures['clips']} clips of {people} test subjects: accuracy "
        f"{100 * figures['accuracy']:.1f} %, macro F1 {100 * figures['macro_f1']:.1f} %, "
        f"kappa {figures['kappa']:.2f}",
        "found of each stage there": ", ".join(
            f"{stage} {100 * share:.0f} %" for stage, share in known.items()
        ),
        "hardly ever found there": ", ".join(hardly) or "no stage",
        **_without_a_network(folder, origin),
    }


def _without_a_network(folder: RunFolder, origin: Mapping[str, str]) -> dict[str, str]:
    """Accuracy of the runs beside this one that are no networks, on the same test subjects."""
    rivals = []
    for config in sorted(folder.path.parent.glob("*/config.json")):
        name, path = config.parent.name, RunFolder(config.parent).predictions("test")
        try:
            run = run_folder.read_config(config.parent)["run"]
            if not isinstance(run, dict) or run.get("task") != "boost" or not path.is_file():
                continue
            if predictions.read_origin(name, path).get("data") != origin["data"]:
                continue
            said = predictions.read(name, path)
        except UserError:  # another run's damage is no matter of this one
            continue
        counts = count_confusion(said.stage, said.predicted, len(STAGES))
        rivals.append(f"{name} {100 * from_confusion(counts)['accuracy']:.1f} %")
    words = "accuracy of breathing and movement from the same videos, gradient boosting: "
    return {"without a network there": words + ", ".join(rivals)} if rivals else {}
