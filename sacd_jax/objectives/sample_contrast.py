"""L_C: a clip's two vectors against those of clips of other stages (the paper's Eqs. 3, 12, 13).

The default is VSE++'s two-way hinge on cosines with the K hardest negatives, as printed. At a
margin of 0.2 it is at 0.40 where all cosines are equal, and stays there as long as the own pair
does not win against what was chosen as hardest; which negatives are chosen, and the form, are
therefore options.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sacd_jax.objectives import memory_bank
from sacd_jax.objectives.losses import l2_normalise, masked_mean
from sacd_jax.objectives.memory_bank import MemoryBank
from sacd_jax.objectives.rows import ALL_HERE, Rows

Candidates = Literal["bank_and_batch", "bank"]
Reduction = Literal["mean", "sum"]
Directions = Literal["both", "student"]


def sample_contrast(
    student: Float[Array, "batch dim"],
    teacher: Float[Array, "batch dim"],
    labels: Int[Array, " batch"],
    student_bank: MemoryBank,
    teacher_bank: MemoryBank,
    *,
    margin: float = 0.2,
    k: int = 64,
    share: float | None = None,
    all_the_more: Float[Array, ""] | float | None = None,
    semi_hard: bool = False,
    num_classes: int | None = None,
    candidates: Candidates = "bank_and_batch",
    temperature: float | None = None,
    reduction: Reduction = "mean",
    directions: Directions = "both",
    rows: Rows = ALL_HERE,
) -> Float[Array, ""]:
    """L_C of a batch (fartashf/vsepp: model.py).

    A student's anchor has negatives of the teacher, and the other way round. An anchor without a
    negative of another stage adds 0.

    Args:
        student: the student's vectors.
        teacher: the teacher's vectors of the same clips, at the same width.
        labels: stages; rows with a label below 0 do not count.
        student_bank: more negatives for the teacher's anchors.
        teacher_bank: more negatives for the student's anchors.
        margin: alpha.
        k: hard negatives per anchor.
        share: takes this share of an anchor's negatives as hard ones, in place of k.
        all_the_more: see `memory_bank.hardest_part`; None: 0.
        semi_hard: takes negatives behind the own pair by less than the margin alone.
        num_classes: chooses so among each of these classes; None among all together.
        temperature: the form is InfoNCE at this temperature; None: the hinge.
        candidates, reduction, directions: see `Sacd`.
        rows: where the batch's other rows are.
    """
    students, teachers = l2_normalise(student), l2_normalise(teacher)
    own = jnp.sum(students * teachers, axis=-1)
    there, back = None, None
    if candidates == "bank_and_batch":
        all_labels = rows.gather(labels)
        there, back = ((cosine, all_labels) for cosine in rows.products(students, teachers))
    pairs = [(student, teacher_bank, there)]
    if directions == "both":
        pairs.append((teacher, student_bank, back))
    total, known = jnp.zeros(()), labels >= 0
    for anchors, bank, extra in pairs:
        if share is None and all_the_more is None and not semi_hard:
            chosen = memory_bank.hardest(bank, anchors, labels, k, extra, num_classes)
        else:
            chosen = memory_bank.hardest_part(
                bank,
                anchors,
                labels,
                k if share is None else share,
                extra,
                num_classes,
                all_the_more=0.0 if all_the_more is None else all_the_more,
                within=(own - margin, own) if semi_hard else None,
            )
        cosine, valid = chosen
        if temperature is not None:
            values, counts = info_nce(own, cosine, valid, temperature), known
        else:
            values, counts = jax.nn.relu(margin - own[:, None] + cosine), valid
        if reduction == "sum":
            total += rows.sum(jnp.sum(jnp.where(counts, values, 0.0)))
            continue
        if temperature is None:
            values = masked_mean(values, valid, axis=1)
        total += rows.masked_mean(values, known)
    return total


def info_nce(
    own: Float[Array, " batch"],
    cosine: Float[Array, "batch chosen"],
    valid: Bool[Array, "batch chosen"],
    temperature: float,
) -> Float[Array, " batch"]:
    """-log of the own pair's share among itself and the negatives (van den Oord et al. 2018).

    An anchor without negatives has 0.
    """
    others = jnp.where(valid, cosine / temperature, -jnp.inf)
    own = own / temperature
    return jax.nn.logsumexp(jnp.concatenate([own[:, None], others], axis=1), axis=1) - own
