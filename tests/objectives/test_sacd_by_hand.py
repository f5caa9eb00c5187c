"""The whole objective: L_D of groups in NumPy, and every option of L_C on its way to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacd_jax import objectives
from sacd_jax.models.structure_graph import StructureGraph
from sacd_jax.objectives.objective import Seen, participating
from sacd_jax.objectives.sample_contrast import sample_contrast
from tests.objectives.test_sacd import SMALL, SPEC, batch_of, data_spec, output
from tests.objectives.vectors import matrix

COUNTED = [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 1, 1]]
"""Clips that count of each group of the batch; one alone is no group."""
PREVIOUS = [0, 1, 1, 0]
NETWORK = jax.jit(StructureGraph(**SMALL).apply)


def first_step(batch):
    """What an objective sees of it without keys."""
    size = len(batch["stage"])
    networks = output(0, batch=size), output(5, batch=size)
    return Seen(*networks, None, batch, participating(batch), jax.random.key(1), jnp.int32(0))


@pytest.mark.parametrize(
    ("negatives", "others", "previous"),
    [
        ("groups_and_previous", True, True),
        ("previous", False, True),
        pytest.param("groups", True, False, marks=pytest.mark.slow),
        pytest.param("none", False, False, marks=pytest.mark.slow),
    ],
)
def test_graph_loss_by_hand(negatives, others, previous):
    weights, margin = {"contrast": 0.0, "jsd": 0.0}, 1.2
    objective = objectives.create(
        "sacd",
        weights,
        clips_per_graph=4,
        graph=SMALL,
        graph_margin=margin,
        ld_negatives=negatives,
        key_encoder="student",
    )
    params, buffers = objective.init(jax.random.key(0), SPEC, SPEC, data_spec(16))
    buffers = {
        **buffers,
        "previous_group": matrix((4, 24), 90),
        "previous_mask": jnp.array(PREVIOUS, bool),
    }
    batch = batch_of(np.arange(16) % 5, np.ravel(COUNTED).astype(bool))
    seen = first_step(batch)
    student, teacher = seen.student.embedding, seen.teacher.embedding
    terms, _ = jax.jit(objective.terms)(params, buffers, seen)

    def unit_graph(side, clips, counted):
        mask = jnp.array([counted], bool)
        found = NETWORK({"params": params[f"{side}_graph"]}, clips[None], mask)[0]
        return np.asarray(found, np.float64) / np.linalg.norm(found)

    groups = [number for number, counted in enumerate(COUNTED) if sum(counted) > 1]
    ours = {n: unit_graph("student", student[4 * n : 4 * n + 4], COUNTED[n]) for n in groups}
    theirs = {n: unit_graph("teacher", teacher[4 * n : 4 * n + 4], COUNTED[n]) for n in groups}
    near = [np.sum((ours[n] - theirs[n]) ** 2) for n in groups]
    far = [np.sum((ours[n] - theirs[m]) ** 2) for n in groups for m in groups if others and n != m]
    if previous:
        last = unit_graph("teacher", buffers["previous_group"], PREVIOUS)
        far += [np.sum((ours[n] - last) ** 2) for n in groups]
    loss = np.mean(np.maximum(margin - 1 + np.array(near), 0))
    if negatives != "none":
        loss = 0.5 * loss + 0.5 * np.mean(np.maximum(margin + 1 - np.array(far), 0))
    np.testing.assert_allclose(terms.losses["graph"], loss, rtol=1e-4)
    logged = [terms.logged[f"graph_distance_{kind}"] for kind in ("positive", "negative")]
    np.testing.assert_allclose(logged, [np.mean(near), np.mean(far) if far else 0], rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({}, {"k": 64}),
        (
            {"margin": 0.5, "hardest": 2, "hardest_per": "class", "lc_reduction": "sum"},
            {"margin": 0.5, "k": 2, "num_classes": 5, "reduction": "sum"},
        ),
        (
            {"hardest_share": 0.3, "negatives": "semi_hard", "lc_directions": "student"},
            {"share": 0.3, "semi_hard": True, "directions": "student"},
        ),
        (
            {"candidates": "bank", "temperature": 0.2, "hardest_share": 1.0},
            {"candidates": "bank", "temperature": 0.2, "share": 1.0},
        ),
    ],
)
def test_every_option_reaches_the_contrast(options, given):
    objective = objectives.create(
        "sacd", {"graph": 0.0, "jsd": 0.0}, bank_size=20, key_encoder="student", **options
    )
    params, buffers = objective.init(jax.random.key(0), SPEC, SPEC, data_spec())
    buffers = {
        name: bank.replace(features=matrix((20, 24), number), labels=jnp.arange(20) % 5)
        for number, (name, bank) in enumerate(buffers.items(), 70)
    }
    batch = batch_of([4, 4, 0, 1])  # fewer clips than classes
    seen = first_step(batch)
    terms, _ = objective.terms(params, buffers, seen)
    vectors = seen.student.embedding, seen.teacher.embedding
    banks = buffers["student_bank"], buffers["teacher_bank"]
    expected = sample_contrast(*vectors, batch["stage"], *banks, **given)
    assert expected > 0
    np.testing.assert_allclose(terms.losses["contrast"], expected, rtol=1e-6)
