"""What a method is without options: the numbers of its paper or public code, as docstrings say."""

import dataclasses

import pytest

from sacd_jax import objectives

COMPOSITION = {
    "relation_group": 16,
    "head_learning_rate": 1e-3,
    "head_momentum": 0.9,
    "head_weight_decay": 5e-4,
}
COMPOSED = dict.fromkeys(
    ("contrast", "jsd", "head_cross_entropy", "head_contrast", "head_jsd"), 1.0
)
BANKS = {
    "negatives": 16384,
    "dim": 128,
    "temperature": 0.07,
    "momentum": 0.5,
    "bank_sharding": "replicated",
}
PROXIES = ("student", "student_proxy", "student_from_teacher")
PROXIES += ("teacher", "teacher_proxy", "teacher_from_student")
SACD = {
    "clips_per_graph": 16,
    "graph": {},
    "graph_learning_rate": None,
    "graph_margin": 1.0,
    "ld_negatives": "groups_and_previous",
    "ld_norm": "l2",
    "margin": 0.2,
    "hardest": 64,
    "hardest_per": "all",
    "hardest_share": None,
    "hardest_warmup": None,
    "negatives": None,
    "temperature": None,
    "contrast_dim": None,
    "bank_size": 256,
    "candidates": "bank_and_batch",
    "lc_reduction": "mean",
    "lc_directions": "both",
    "jsd_variant": "js",
    "key_encoder": "ema",
    "projection_decay": 0.999,
}
DEFAULTS = {
    "c2kd": (dict.fromkeys(PROXIES, 1.0), {"threshold": 0.0}),
    "ccl": (COMPOSED, COMPOSITION | {"temperature": 0.5}),
    "cmc": ({"contrast": 1.0}, BANKS | {"softmax": False}),
    "crd": ({"contrast": 0.8}, BANKS | {"positives": "exact"}),
    "dist": ({"inter": 2.0, "intra": 2.0}, {"temperature": 1.0}),
    "fitnet": ({"hint": 100.0}, {"layer": "embedding", "regressor": "auto"}),
    "ifd": (
        {"information_flow": 1.0},
        {"inner_weight": 100.0, "inner_decay": 0.7, "relation_group": 16},
    ),
    "kd": ({"kd": 9.0}, {"temperature": 2.0, "standardise": False}),
    "kd_standardised": ({"kd": 9.0}, {"temperature": 2.0, "standardise": True}),
    "mgdfr": ({"kd": 1.0}, {"temperature": 4.0, "ratio": 0.75}),
    "pkt": ({"pkt": 30000.0}, {"relation_group": 16}),
    "rkd": ({"distance": 25.0, "angle": 50.0}, {"relation_group": 16}),
    "sacd": ({"graph": 0.5, "contrast": 1.0, "jsd": 1.0}, SACD),
    "sacd_released": (
        COMPOSED,
        COMPOSITION | {"margin": 0.5, "hardest": 5, "vectors": "raw", "pairs": "ccl"},
    ),
}


@pytest.mark.parametrize("name", objectives.available())
def test_numbers_of_a_method_by_default(name: str) -> None:
    weights, options = DEFAULTS[name]
    method = objectives.create(name)
    fields = [field.name for field in dataclasses.fields(method) if field.name != "weights"]
    assert method.weights == weights and {key: getattr(method, key) for key in fields} == options
    loop = method.needs_keys, method.clips_together, method.measurable, method.row_sharded
    reads_logits_alone = name in ("kd", "kd_standardised", "dist")
    assert loop == ((True, 16, True, ()) if name == "sacd" else (False, 1, reads_logits_alone, ()))


def test_what_is_given_takes_a_defaults_place_and_nothing_else() -> None:
    method = objectives.create("rkd", {"angle": 2.0}, relation_group=4)
    assert method.weights == {"distance": 25.0, "angle": 2.0} and method.relation_group == 4
    assert objectives.create("rkd", relation_group=4).weights == DEFAULTS["rkd"][0]
    assert objectives.create("rkd", {"angle": 2.0}).relation_group == 16
