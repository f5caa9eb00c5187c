"""The reconstruction of SACD's released code against values of its authors' modules, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput
from sacd_jax.objectives.losses import cross_entropy, l2_normalise
from sacd_jax.objectives.objective import Seen, participating
from sacd_jax.objectives.sacd_released import semi_hard_triplets

ROW, PLACES = np.meshgrid(np.arange(24), np.arange(16), indexing="ij")
VIDEO = jnp.asarray(0.5 * np.sin(0.1 * (7 * ROW + 3 * PLACES) + 0.2)[:10], jnp.float32)
EEG = jnp.asarray(0.5 * np.cos(0.1 * (9 * ROW + 4 * PLACES) + 0.1)[:10], jnp.float32)
QUEUE = jnp.asarray(0.5 * np.sin(0.1 * (5 * ROW + 3.5 * PLACES) + 0.7), jnp.float32)
LABELS = jnp.arange(10) % 5
QUEUE_LABELS = (3 * jnp.arange(24) + 1) % 5
SKEWED = jnp.array([0, 0, 0, 0, 1, 1, 2, 3, 4, 4])
ALL = 1000


def unit(*rows):
    return tuple(l2_normalise(row) for row in rows)


QUEUED = (VIDEO, EEG, QUEUE, LABELS, QUEUE_LABELS)
IN_BATCH = (VIDEO, EEG, EEG, LABELS, LABELS)
TRIPLETS = {
    "margin 0.5": (
        (*QUEUED, 0.5, ALL),
        (7, 0.2300642987),
        [(-0.2156988396, 1.165893687), (1.773426104, 1.196624131), (-1.557727265, 1.035007751)],
    ),
    "margin 0.2": (
        (*QUEUED, 0.2, ALL),
        (3, 0.07294504925),
        [(-0.4627869539, 0.4304616064), (1.366930123, 1.460345244), (-0.9041431688, 1.517239214)],
    ),
    "unit, margin 0.5": (
        (*unit(VIDEO, EEG, QUEUE), LABELS, QUEUE_LABELS, 0.5, ALL),
        (13, 0.2843442185),
        [(0.0299883943, 0.5705440698), (0.9591328527, 0.7800448834), (-0.989121247, 0.5110637155)],
    ),
    "unit, margin 0.2": (
        (*unit(VIDEO, EEG, QUEUE), LABELS, QUEUE_LABELS, 0.2, ALL),
        (7, 0.1129651283),
        [(-0.05913044816, 0.6731651973), (0.7083461377, 0.726957999), (-0.6492156896, 0.671507982)],
    ),
    "skewed classes": (
        (VIDEO, EEG, QUEUE, SKEWED, QUEUE_LABELS, 0.5, ALL),
        (10, 0.2511048387),
        [(-0.04798634054, 0.6766154315), (-1.265899464, 2.751941211), (1.313885805, 1.772836794)],
    ),
    "in the batch": (
        (*IN_BATCH, 0.5, ALL),
        (1, 0.009242997574),
        [(-0.1948426302, 2.464264541), (-2.956535081, 1.451055893), (3.151377711, 2.017074915)],
    ),
    "one set": (
        (VIDEO, VIDEO, VIDEO, LABELS, LABELS, 0.5, ALL),
        (2, 0.2883387398),
        [(-1.787400313, 1.368229189), (5.27654528, 3.921611825), (-3.489144966, 3.975218462)],
    ),
    "margin 2": (
        (*QUEUED, 2.0, ALL),
        (19, 1.170034509),
        [(-0.07381983046, 0.8890113682), (1.875957908, 1.158518329), (-1.802138078, 0.717597091)],
    ),
}


def triplets(anchors, positives, negatives, labels, negative_labels, margin, most):
    return semi_hard_triplets(
        anchors, positives, negatives, labels, negative_labels, margin=margin, most=most
    )


@pytest.mark.parametrize("name", TRIPLETS)
def test_golden(name):
    (*vectors, labels, others, margin, most), (count, loss), gradients = TRIPLETS[name]

    def of(*vectors):
        return triplets(*vectors, labels, others, margin, most)

    (value, found), grads = jax.value_and_grad(of, argnums=(0, 1, 2), has_aux=True)(*vectors)
    np.testing.assert_allclose(value, loss, rtol=2e-5)
    assert found == count
    for grad, (total, norm) in zip(grads, gradients, strict=True):
        np.testing.assert_allclose(grad.sum(), total, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(jnp.linalg.norm(grad), norm, rtol=1e-5)


def test_triplets_of_whole_numbers():
    """On the borders of the window, at h = 0 and h = margin, nothing is drawn."""
    anchors, negatives = jnp.array([[0.0], [9.0]]), jnp.array([[1.0], [2.0], [3.0], [2.0]])
    positives, labels = jnp.array([[9.0], [1.0]]), jnp.array([0, 0])
    others = jnp.array([1, 1, 2, -1])  # |a - n|^2 of 1, 4 and 9, |a - p|^2 = 1
    found = triplets(anchors, positives, negatives, labels, others, 8.0, 5)
    np.testing.assert_array_equal(found, [8 + 1 - 4, 1])
    found = triplets(anchors, positives, negatives, labels, others, 3.0, 5)
    np.testing.assert_array_equal(found, [0, 0])
    found = triplets(anchors, positives, negatives, labels, others, 9.0, 1)
    np.testing.assert_array_equal(found, [(6 + 1) / 2, 1])


def test_draws_are_taken_at_their_expectation():
    value, count = triplets(*QUEUED, 2.0, 3)
    np.testing.assert_allclose(value, 1.178276337, rtol=1e-6)
    np.testing.assert_allclose(count, 15)  # three of each pair's three or four


def test_gradient_against_finite_differences():
    check_grads(
        lambda *rows: triplets(*rows, LABELS, QUEUE_LABELS, 0.5, 5)[0],
        (VIDEO, EEG, QUEUE),
        1,
        ["rev"],
        eps=1e-4,
        atol=1e-2,
        rtol=1e-2,
    )


@pytest.mark.parametrize(
    ("labels", "factor"),
    [
        (jnp.zeros(10, int), 1.0),
        (jnp.arange(10), 1.0),
        (jnp.full(10, -1), 1.0),
        (LABELS, 40.0),
    ],
    ids=["one stage", "no two of a stage", "no stage", "raw vectors, far apart"],
)
def test_without_a_triplet_the_loss_is_0(labels, factor):
    """The released code stops with an index error here."""

    def of(video):
        return triplets(video, factor * EEG, factor * EEG, labels, labels, 0.5, 5)

    (value, count), grad = jax.value_and_grad(of, has_aux=True)(factor * VIDEO)
    assert (value, count) == (0, 0)
    np.testing.assert_array_equal(grad, 0)


PLACE = np.arange(10 * 16 * 32)
CLASSIFIER = jnp.asarray((0.5 * np.sin(0.21 * PLACE + 0.4))[:80].reshape(5, 16).T, jnp.float32)
CLASSIFIER_BIAS = jnp.asarray(0.1 * np.cos(np.arange(5)), jnp.float32)
HEAD = {
    "compose": {
        "kernel": jnp.asarray((0.3 * np.sin(0.13 * PLACE + 0.2))[:512].reshape(16, 32).T, "f4"),
        "bias": jnp.asarray(0.05 * np.cos(0.3 * PLACE[:16]), "f4"),
    },
    "classify": {
        "kernel": jnp.asarray((0.4 * np.cos(0.29 * PLACE + 0.1))[:80].reshape(5, 16).T, "f4"),
        "bias": jnp.asarray(0.1 * np.sin(PLACE[:5]), "f4"),
    },
}


def losses_of(options, head=HEAD, video=VIDEO, labels=LABELS):
    objective = objectives.create("sacd_released", **{"hardest": ALL, **options})
    batch = {"stage": labels, "mask": jnp.ones(10, bool), "index": jnp.arange(10)}
    student = EncoderOutput(video, video @ CLASSIFIER + CLASSIFIER_BIAS)
    teacher = EncoderOutput(EEG, jnp.zeros((10, 5)))
    key = jax.random.key(0)
    seen = Seen(student, teacher, None, batch, participating(batch), key, jnp.int32(0))
    terms, _ = objective.terms(head, {}, seen)
    assert set(terms.losses) == set(objective.weights)
    own = cross_entropy(student.logits, labels)
    return own, terms


@pytest.mark.parametrize(
    ("options", "totals", "found", "video", "compose"),
    [
        (
            {"pairs": "overwritten", "margin": 2.0},
            (6.738992359, 7.083669529),
            22,
            (3.246219904, 10.99579003),
            (9.695862902, 51.97067914, -15.19665142, 11.64880819),
        ),
        (
            {"margin": 2.0},
            (6.606302727, 6.920101658),
            21,
            (2.784349156, 6.712362579),
            (7.686538908, 14.64257295, -11.20802393, 10.20405243),
        ),
        (
            {"vectors": "unit"},
            (4.310701482, 4.031809314),
            13,
            (1.537166339, 2.164203516),
            (-0.8421306449, 1.569737464, -1.931801842, 1.440068421),
        ),
    ],
    ids=["as released", "CCL's names", "unit vectors"],
)
def test_golden_step(options, totals, found, video, compose):
    """Both totals, and the gradients that two backward passes give student and head."""
    own, terms = losses_of(options)
    head = sum(value for name, value in terms.losses.items() if name.startswith("head_"))
    student = own + terms.losses["contrast"] + terms.losses["jsd"]
    np.testing.assert_allclose(own, 2.333786487, rtol=1e-6)
    np.testing.assert_allclose(terms.losses["head_cross_entropy"], 1.922461348, rtol=1e-6)
    np.testing.assert_allclose(terms.losses["jsd"], 1.021917076, rtol=1e-6)
    np.testing.assert_allclose((student, head), totals, rtol=2e-6)
    assert terms.logged["triplets"] == found

    def total(head, video):
        own, terms = losses_of(options, head, video)
        return own + sum(terms.losses.values())

    of_head, of_video = jax.grad(total, argnums=(0, 1))(HEAD, VIDEO)
    np.testing.assert_allclose(of_video.sum(), video[0], rtol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(of_video), video[1], rtol=1e-5)
    kernel, bias = of_head["compose"]["kernel"], of_head["compose"]["bias"]
    measured = (kernel.sum(), jnp.linalg.norm(kernel), bias.sum(), jnp.linalg.norm(bias))
    np.testing.assert_allclose(measured, compose, rtol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(of_head["classify"]["kernel"]), 2.990023552, 1e-5)


def test_rows_without_a_stage_take_no_part():
    labels = LABELS.at[jnp.array([2, 7])].set(-1)

    def total(video):
        return sum(losses_of({"vectors": "unit"}, video=video, labels=labels)[1].losses.values())

    value, grad = jax.value_and_grad(total)(VIDEO)
    np.testing.assert_allclose(value, total(VIDEO.at[jnp.array([2, 7])].add(1.0)), rtol=1e-6)
    np.testing.assert_array_equal(grad[jnp.array([2, 7])], 0)
    assert jnp.abs(grad).max() > 1e-3
