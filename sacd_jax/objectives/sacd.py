"""SACD: structure- and sample-level contrastive distillation (the paper's Eqs. 1-13).

Three losses in addition to the task's cross-entropy (Eq. 5): `graph` pulls the student's and the
teacher's graph of a group of clips together and pushes those of different groups apart (L_D),
`contrast` does the same for single clips and hard negatives of other stages (L_C), and `jsd` pulls
the class distributions together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from input_pipeline.errors import UserError
from sacd_jax.models.encoder import EncoderSpec
from sacd_jax.models.structure_graph import StructureGraph
from sacd_jax.objectives import memory_bank
from sacd_jax.objectives.losses import (
    JsdVariant,
    jsd,
    l2_normalise,
    masked_mean,
    squared_distances,
)
from sacd_jax.objectives.memory_bank import MemoryBank
from sacd_jax.objectives.objective import (
    Buffers,
    DataSpec,
    Objective,
    Params,
    Seen,
    Terms,
    default_weights,
    project_teacher,
    projection_init,
)
from sacd_jax.objectives.rows import ALL_HERE, Rows, by_rows
from sacd_jax.registry import Count

Negatives = Literal["groups_and_previous", "groups", "previous", "none"]
Norm = Literal["l2", "none"]
HardestPer = Literal["all", "class"]
Candidates = Literal["bank_and_batch", "bank"]
Reduction = Literal["mean", "sum"]
Directions = Literal["both", "student"]
KeyEncoder = Literal["ema", "student"]
Scalars = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class Sacd(Objective):
    """Options of SACD; the defaults are the paper's, or our reading where it is silent.

    Attributes:
        weights: lambda_1..3 of Eq. 5.
        clips_per_graph: clips of a group, the nodes of its graph; a batch is whole groups.
        graph: attributes of `StructureGraph` that differ from its defaults, such as {"layers": 5}.
        graph_learning_rate: constant rate of a separate Adam for the graph networks (1e-4 in Graph
            Matching Networks); None trains them with the student's optimizer. If the rate is too
            high, all graphs collapse to one vector: the two logged distances become equal and
            L_D stays at 1.
        graph_margin: gamma of the pair loss.
        ld_negatives: the teacher's graphs that a student's graph is pushed away from: those of the
            batch's other groups, that of the previous step's first group, both, or none (the
            equation as printed).
        ld_norm: `l2` compares unit graph vectors (distances in [0, 4]), `none` the raw ones.
        margin: alpha of the hinge.
        hardest: K, the number of hard negatives per anchor.
        hardest_per: `all` takes K negatives over all other classes together, `class` K of each
            other class. The paper's "first K hardest negative pairs for each class" is nearer to
            `class`; `all` is the default because all our published results were made with it.
        bank_size: rows of each memory bank.
        candidates: negatives come from the bank and the batch, or from the bank alone.
        lc_reduction: `mean` over negatives and anchors, or the printed `sum` (some 400 times as
            large).
        lc_directions: `both` also takes the teacher's vectors as anchors, with negatives of the
            student; `student` takes only the student's.
        jsd_variant: Jensen-Shannon, or CCL's `jeffreys`.
        key_encoder: the student's bank holds embeddings of the momentum encoder, or of the student
            itself (which saves a forward pass).
        projection_decay: momentum of the averaged teacher projection that fills the teacher's bank,
            where the widths differ.
    """

    weights: Mapping[str, float] = default_weights(graph=0.5, contrast=1.0, jsd=1.0)
    clips_per_graph: Count = 16
    graph: Mapping[str, Any] = field(default_factory=dict, hash=False)
    graph_learning_rate: float | None = None
    graph_margin: float = 1.0
    ld_negatives: Negatives = "groups_and_previous"
    ld_norm: Norm = "l2"
    margin: float = 0.2
    hardest: Count = 64
    hardest_per: HardestPer = "all"
    bank_size: Count = 256
    candidates: Candidates = "bank_and_batch"
    lc_reduction: Reduction = "mean"
    lc_directions: Directions = "both"
    jsd_variant: JsdVariant = "js"
    key_encoder: KeyEncoder = "ema"
    projection_decay: float = 0.999

    def __post_init__(self) -> None:
        try:
            self._network()
        except TypeError as error:
            raise UserError(f"objective option graph does not fit: {error}") from None

    def _network(self) -> StructureGraph:
        return StructureGraph(**self.graph)

    @property
    def clips_together(self) -> int:
        """A graph never leaves its device."""
        return self.clips_per_graph

    @property
    def needs_keys(self) -> bool:
        """Whether the student's bank is used and holds the momentum encoder's embeddings."""
        uses_student_bank = self.lc_directions == "both" and self.weights["contrast"] != 0
        return uses_student_bank and self.key_encoder == "ema"

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes the graph networks, the projection and the banks, as far as weights ask for them.

        Raises:
            UserError: the batch is not a whole number of groups.
        """
        rng_projection, rng_student, rng_teacher, rng_group = jax.random.split(rng, 4)
        dim = student_spec.embedding_dim
        params: dict = projection_init(rng_projection, student_spec, teacher_spec)
        buffers: dict = {}
        if self.weights["graph"] != 0:
            if data_spec.batch_size % self.clips_per_graph:
                raise UserError(
                    f"batch size {data_spec.batch_size} is not a multiple of "
                    f"clips_per_graph {self.clips_per_graph}"
                )
            network = jax.jit(self._network().init)
            group = jnp.zeros((1, self.clips_per_graph, dim))
            params["student_graph"] = network(rng_student, group)["params"]
            params["teacher_graph"] = network(rng_teacher, group)["params"]
            # Random, because equal nodes give a zero graph vector, whose norm has no gradient.
            shape = (self.clips_per_graph, teacher_spec.embedding_dim)
            buffers["previous_group"] = jax.random.normal(rng_group, shape)
            buffers["previous_mask"] = jnp.zeros((self.clips_per_graph,), bool)
        if self.weights["contrast"] != 0:
            buffers["student_bank"] = memory_bank.empty(self.bank_size, dim)
            buffers["teacher_bank"] = memory_bank.empty(self.bank_size, dim)
            if "projection" in params:
                buffers["projection"] = jax.tree.map(jnp.copy, params["projection"])
        return params, buffers

    def optimizer(self, base: optax.GradientTransformation) -> optax.GradientTransformation:
        """`base` for all heads, or a separate Adam for the graph networks."""
        if self.graph_learning_rate is None:
            return base
        return optax.partition(
            {"graph": optax.adam(self.graph_learning_rate), "other": base},
            lambda params: {k: "graph" if k.endswith("_graph") else "other" for k in params},
        )

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Losses `graph`, `contrast`, `jsd`; logs the mean distance of paired and other graphs."""
        embeddings = {"student": seen.student.embedding, "teacher": seen.teacher.embedding}
        # The vectors that fill the banks, where they are others.
        if self.needs_keys and seen.keys is not None:
            embeddings["student_key"] = seen.keys.student.embedding
        if seen.keys is not None:
            embeddings["teacher_key"] = seen.keys.teacher.embedding
        rows = {"stage": seen.batch["stage"], "mask": seen.mask, **embeddings}
        num_classes = seen.student.logits.shape[-1] if self.hardest_per == "class" else None
        terms = partial(self._terms, num_classes=num_classes)
        losses, logged, changed = by_rows(terms, (params, buffers), rows, self.clips_per_graph)
        if self.weights["jsd"] != 0:
            logits = (seen.student.logits, seen.teacher.logits)
            losses["jsd"] = jsd(*logits, seen.mask, self.jsd_variant)
        return Terms(losses, logged), {**buffers, **changed}

    def _terms(
        self,
        rows: Rows,
        whole: tuple[Params, Buffers],
        batch: Mapping[str, Array],
        num_classes: int | None,
    ) -> tuple[Scalars, Scalars, dict[str, Any]]:
        """L_D and L_C, what is logged, and the buffers that change."""
        params, buffers = whole
        own_params, mask = rows.own(params), batch["mask"]
        labels = jnp.where(mask, batch["stage"], memory_bank.EMPTY)
        student = batch["student"].astype(jnp.float32)
        teacher = project_teacher(own_params, batch["teacher"])
        losses, logged, changed = {}, {}, {}
        if self.weights["graph"] != 0:
            losses["graph"], logged = self._graph(rows, own_params, buffers, student, teacher, mask)
            first = slice(0, self.clips_per_graph)
            changed["previous_group"], changed["previous_mask"] = rows.of_first_device(
                (_constant(batch["teacher"][first]), mask[first])
            )
        if self.weights["contrast"] != 0:
            student_bank, teacher_bank = buffers["student_bank"], buffers["teacher_bank"]
            losses["contrast"] = hinge(
                student,
                teacher,
                labels,
                student_bank,
                teacher_bank,
                margin=self.margin,
                k=self.hardest,
                num_classes=num_classes,
                candidates=self.candidates,
                reduction=self.lc_reduction,
                directions=self.lc_directions,
                rows=rows,
            )
            if self.lc_directions == "both":
                key = l2_normalise(batch.get("student_key", student))
                changed["student_bank"] = memory_bank.push(student_bank, key, labels, rows)
            if "projection" in buffers:
                changed["projection"] = optax.incremental_update(
                    _constant(params["projection"]),
                    buffers["projection"],
                    1.0 - self.projection_decay,
                )
            key = project_teacher(changed, batch.get("teacher_key", batch["teacher"]))
            changed["teacher_bank"] = memory_bank.push(
                teacher_bank, l2_normalise(key), labels, rows
            )
        return losses, logged, changed

    def _graph(
        self,
        rows: Rows,
        params: Params,
        buffers: Buffers,
        student: Float[Array, "batch dim"],
        teacher: Float[Array, "batch dim"],
        mask: Bool[Array, " batch"],
    ) -> tuple[Float[Array, ""], Scalars]:
        """L_D of the batch's groups, and mean distances. A group counts if two of its clips do.

        Every device embeds the groups that it has, and the previous step's; the teacher's graphs
        of all groups are gathered.
        """
        network = self._network()
        members = mask.reshape(-1, self.clips_per_graph)
        groups, teacher_members = len(members), members
        student = student.reshape(*members.shape, -1)
        teacher = teacher.reshape(*members.shape, -1)
        if self.ld_negatives in ("groups_and_previous", "previous"):
            previous = project_teacher(params, buffers["previous_group"])
            teacher = jnp.concatenate([teacher, previous[None]])
            teacher_members = jnp.concatenate([members, buffers["previous_mask"][None]])
        student_graphs = network.apply({"params": params["student_graph"]}, student, members)
        teacher_graphs = network.apply(
            {"params": params["teacher_graph"]}, teacher, teacher_members
        )

        def all_groups(here: Array) -> Array:
            return jnp.concatenate([rows.gather(here[:groups]), here[groups:]])

        teacher_graphs, count = map(all_groups, (teacher_graphs, teacher_members.sum(axis=1)))
        present = (members.sum(axis=1) > 1)[:, None] & (count > 1)
        own = (rows.place() * groups + jnp.arange(groups))[:, None] == jnp.arange(len(count))
        positive, negative = present & own, present & ~own
        if self.ld_negatives in ("previous", "none"):
            negative &= jnp.arange(len(count)) >= len(count) - (len(teacher) - groups)
        distance = graph_distances(student_graphs, teacher_graphs, self.ld_norm)
        balanced = self.ld_negatives != "none"
        mean = rows.masked_mean
        loss = pair_loss(distance, positive, negative, self.graph_margin, balanced, mean)
        return loss, {
            "graph_distance_positive": mean(distance, positive),
            "graph_distance_negative": mean(distance, negative),
        }


def graph_distances(
    student_graphs: Float[Array, "groups dim"],
    teacher_graphs: Float[Array, "others dim"],
    norm: Norm = "l2",
) -> Float[Array, "groups others"]:
    """Squared Euclidean distance of every pair of graph vectors; `l2` scales them to length 1."""
    if norm == "l2":
        student_graphs, teacher_graphs = l2_normalise(student_graphs), l2_normalise(teacher_graphs)
    return squared_distances(student_graphs, teacher_graphs)


def pair_loss(
    distance: Float[Array, "groups others"],
    positive: Bool[Array, "groups others"],
    negative: Bool[Array, "groups others"],
    margin: float = 1.0,
    balanced: bool = True,
    mean: Callable[[Array, Array], Array] = masked_mean,
) -> Float[Array, ""]:
    """L_D: Eq. 11 read as Graph Matching Networks' pair loss.

    Formula of Lin-Yijie/Graph-Matching-Networks, GMN/loss.py:
    max(0, margin - t (1 - d)), t = 1 for positive pairs and -1 for negative ones.

    Args:
        distance: squared distances d.
        positive: pairs to pull together.
        negative: pairs to push apart.
        margin: gamma.
        balanced: half the mean over positives plus half the mean over negatives (0 if there are
            none); else the mean over positives alone.
        mean: (values, mask) -> their mean, over several devices where pairs are on several.
    """
    pull = mean(jax.nn.relu(margin - 1.0 + distance), positive)
    if not balanced:
        return pull
    push = mean(jax.nn.relu(margin + 1.0 - distance), negative)
    return 0.5 * pull + 0.5 * push


def hinge(
    student: Float[Array, "batch dim"],
    teacher: Float[Array, "batch dim"],
    labels: Int[Array, " batch"],
    student_bank: MemoryBank,
    teacher_bank: MemoryBank,
    *,
    margin: float = 0.2,
    k: int = 64,
    num_classes: int | None = None,
    candidates: Candidates = "bank_and_batch",
    reduction: Reduction = "mean",
    directions: Directions = "both",
    rows: Rows = ALL_HERE,
) -> Float[Array, ""]:
    """L_C (Eqs. 12, 13): two-way hinge on cosines with hard negatives (fartashf/vsepp: model.py).

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
        num_classes: take k of each of these classes; None takes k of all together.
        candidates, reduction, directions: see `Sacd`.
        rows: where the batch's other rows are.
    """
    students, teachers = l2_normalise(student), l2_normalise(teacher)
    own = jnp.sum(students * teachers, axis=-1, keepdims=True)
    there, back = None, None
    if candidates == "bank_and_batch":
        all_labels = rows.gather(labels)
        there, back = ((cosine, all_labels) for cosine in rows.products(students, teachers))
    pairs = [(student, teacher_bank, there)]
    if directions == "both":
        pairs.append((teacher, student_bank, back))
    total = jnp.zeros(())
    for anchors, bank, extra in pairs:
        cosine, valid = memory_bank.hardest(bank, anchors, labels, k, extra, num_classes)
        violation = jax.nn.relu(margin - own + cosine)
        if reduction == "sum":
            total += rows.sum(jnp.sum(jnp.where(valid, violation, 0.0)))
        else:
            total += rows.masked_mean(masked_mean(violation, valid, axis=1), labels >= 0)
    return total


def _constant[Tree](tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf).astype(jnp.float32), tree)
