"""SACD: structure- and sample-level contrastive distillation (the paper's Eqs. 1-13).

Three terms beside the task's cross-entropy (Eq. 5): `graph` pulls the graphs of a group of clips
in video and EEG together and apart from other groups' (L_D), `contrast` does so for single clips
against hard negatives of other stages (L_C), `jsd` for the class distributions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from input_pipeline.errors import UserError
from sacd_jax.models.encoder import Batch, EncoderOutput, EncoderSpec
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
    Keys,
    Objective,
    Params,
    Terms,
    check_choice,
    participating,
    project_teacher,
    projection_init,
)

Negatives = Literal["groups_and_previous", "groups", "previous", "none"]
Norm = Literal["l2", "none"]
Candidates = Literal["bank_and_batch", "bank"]
Reduction = Literal["mean", "sum"]
Directions = Literal["both", "student"]
KeyEncoder = Literal["ema", "student"]


@dataclass(frozen=True)
class Sacd(Objective):
    """Options of SACD; the defaults are the paper's, or our reading where it is silent.

    Attributes:
        weights: lambda_1..3 of Eq. 5.
        group_size: clips of a graph; the batch is a whole number of groups.
        graph: attributes of `StructureGraph` other than its defaults, such as {"layers": 5}.
        graph_learning_rate: of an Adam of the graph networks' own, at a constant rate (that of
            Graph Matching Networks is 1e-4); None trains them with the student's optimizer. At
            too high a rate all graphs become one vector: the two logged distances are then
            equal, and L_D rests at 1.
        graph_margin: gamma of the pair loss.
        ld_negatives: graphs a video graph is told apart from: the EEG graphs of the batch's other
            groups, that of the previous step's first group, or none (the equation as printed).
        ld_norm: `l2` compares unit graph vectors (distances in [0, 4]), `none` the raw ones.
        margin: alpha of the hinge.
        hardest: K, hard negatives of an anchor.
        bank_size: rows of each memory bank.
        candidates: negatives come from the bank and the batch, or from the bank alone.
        lc_reduction: `mean` over negatives and anchors, or the printed `sum` (some 400 times it).
        lc_directions: video against EEG negatives and EEG against video negatives, or only the
            first (the student's).
        jsd_variant: Jensen-Shannon, or CCL's `jeffreys`.
        key_encoder: the video bank holds the momentum encoder's embeddings, or the student's own
            (saves a forward pass).
        projection_decay: momentum of the teacher projection that fills the EEG bank, where the
            widths differ.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {"graph": 0.5, "contrast": 1.0, "jsd": 1.0}, hash=False
    )
    group_size: int = 16
    graph: Mapping[str, Any] = field(default_factory=dict, hash=False)
    graph_learning_rate: float | None = None
    graph_margin: float = 1.0
    ld_negatives: Negatives = "groups_and_previous"
    ld_norm: Norm = "l2"
    margin: float = 0.2
    hardest: int = 64
    bank_size: int = 256
    candidates: Candidates = "bank_and_batch"
    lc_reduction: Reduction = "mean"
    lc_directions: Directions = "both"
    jsd_variant: JsdVariant = "js"
    key_encoder: KeyEncoder = "ema"
    projection_decay: float = 0.999

    def __post_init__(self) -> None:
        for option, choices in (
            ("ld_negatives", Negatives),
            ("ld_norm", Norm),
            ("candidates", Candidates),
            ("lc_reduction", Reduction),
            ("lc_directions", Directions),
            ("jsd_variant", JsdVariant),
            ("key_encoder", KeyEncoder),
        ):
            check_choice(option, getattr(self, option), choices)
        try:
            self._network()
        except TypeError as error:
            raise UserError(f"objective option graph does not fit: {error}") from None

    def _network(self) -> StructureGraph:
        return StructureGraph(**self.graph)

    @property
    def needs_keys(self) -> bool:
        """True where the video bank is read and filled by the momentum encoder."""
        fills_video_bank = self.lc_directions == "both" and self.weights["contrast"] != 0
        return fills_video_bank and self.key_encoder == "ema"

    def init(
        self,
        rng: jax.Array,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """See `Objective.init`.

        Raises:
            UserError: the batch is not a whole number of groups.
        """
        rng_projection, rng_student, rng_teacher, rng_group = jax.random.split(rng, 4)
        dim = student_spec.embedding_dim
        params: dict = projection_init(rng_projection, student_spec, teacher_spec)
        buffers: dict = {}
        if self.weights["graph"] != 0:
            if data_spec.batch_size % self.group_size:
                raise UserError(
                    f"batch size {data_spec.batch_size} is not a multiple of the graph's "
                    f"group_size {self.group_size}"
                )
            network = jax.jit(self._network().init)
            group = jnp.zeros((1, self.group_size, dim))
            params["student_graph"] = network(rng_student, group)["params"]
            params["teacher_graph"] = network(rng_teacher, group)["params"]
            # Random: equal nodes give a zero graph vector, whose norm has no gradient.
            shape = (self.group_size, teacher_spec.embedding_dim)
            buffers["previous_group"] = jax.random.normal(rng_group, shape)
            buffers["previous_mask"] = jnp.zeros((self.group_size,), bool)
        if self.weights["contrast"] != 0:
            buffers["student_bank"] = memory_bank.empty(self.bank_size, dim)
            buffers["teacher_bank"] = memory_bank.empty(self.bank_size, dim)
            if "projection" in params:
                buffers["projection"] = jax.tree.map(jnp.copy, params["projection"])
        return params, buffers

    def optimizer(self, base: optax.GradientTransformation) -> optax.GradientTransformation:
        """`base` for all heads, or an Adam of their own for the graph networks."""
        if self.graph_learning_rate is None:
            return base
        return optax.partition(
            {"graph": optax.adam(self.graph_learning_rate), "other": base},
            lambda params: {k: "graph" if k.endswith("_graph") else "other" for k in params},
        )

    def terms(
        self,
        params: Params,
        buffers: Buffers,
        student: EncoderOutput,
        teacher: EncoderOutput,
        keys: Keys | None,
        batch: Batch,
        rng: jax.Array,
        step: jax.Array,
    ) -> tuple[Terms, Buffers]:
        """Terms `graph`, `contrast`, `jsd`; logs the mean distances of paired and other graphs."""
        mask = participating(batch)
        labels = jnp.where(mask, batch["stage"], memory_bank.EMPTY)
        video = student.embedding.astype(jnp.float32)
        eeg = project_teacher(params, teacher.embedding)
        terms: Terms = {}
        buffers = dict(buffers)
        if self.weights["graph"] != 0:
            terms |= self._graph(params, buffers, video, eeg, mask)
            first = slice(0, self.group_size)
            buffers["previous_group"] = _constant(teacher.embedding[first])
            buffers["previous_mask"] = mask[first]
        if self.weights["contrast"] != 0:
            student_bank, teacher_bank = buffers["student_bank"], buffers["teacher_bank"]
            terms["contrast"] = hinge(
                video,
                eeg,
                labels,
                student_bank,
                teacher_bank,
                margin=self.margin,
                k=self.hardest,
                candidates=self.candidates,
                reduction=self.lc_reduction,
                directions=self.lc_directions,
            )
            if self.lc_directions == "both":
                key = video if keys is None or not self.needs_keys else keys.student.embedding
                buffers["student_bank"] = memory_bank.push(student_bank, l2_normalise(key), labels)
            teacher_key = teacher if keys is None else keys.teacher
            eeg_key = project_teacher(params, teacher_key.embedding)
            if "projection" in buffers:
                buffers["projection"] = optax.incremental_update(
                    _constant(params["projection"]),
                    buffers["projection"],
                    1.0 - self.projection_decay,
                )
                eeg_key = project_teacher(buffers, teacher_key.embedding)
            buffers["teacher_bank"] = memory_bank.push(teacher_bank, l2_normalise(eeg_key), labels)
        if self.weights["jsd"] != 0:
            terms["jsd"] = jsd(student.logits, teacher.logits, mask, self.jsd_variant)
        return terms, buffers

    def _graph(
        self,
        params: Params,
        buffers: Buffers,
        video: Float[Array, "batch dim"],
        eeg: Float[Array, "batch dim"],
        mask: Bool[Array, " batch"],
    ) -> Terms:
        """L_D of the batch's groups. A group needs two clips with a stage to count."""
        network = self._network()
        members = mask.reshape(-1, self.group_size)
        groups, teacher_members = len(members), members
        video = video.reshape(*members.shape, -1)
        eeg = eeg.reshape(*members.shape, -1)
        if self.ld_negatives in ("groups_and_previous", "previous"):
            previous = project_teacher(params, buffers["previous_group"])
            eeg = jnp.concatenate([eeg, previous[None]])
            teacher_members = jnp.concatenate([members, buffers["previous_mask"][None]])
        student_graphs = network.apply({"params": params["student_graph"]}, video, members)
        teacher_graphs = network.apply({"params": params["teacher_graph"]}, eeg, teacher_members)

        present = (members.sum(axis=1) > 1)[:, None] & (teacher_members.sum(axis=1) > 1)
        own = jnp.eye(*present.shape, dtype=bool)
        positive, negative = present & own, present & ~own
        if self.ld_negatives in ("previous", "none"):
            negative &= jnp.arange(present.shape[1]) >= groups
        distance = graph_distances(student_graphs, teacher_graphs, self.ld_norm)
        return {
            "graph": pair_loss(
                distance,
                positive,
                negative,
                self.graph_margin,
                balanced=self.ld_negatives != "none",
            ),
            "graph_distance_positive": masked_mean(distance, positive),
            "graph_distance_negative": masked_mean(distance, negative),
        }


def graph_distances(
    student_graphs: Float[Array, "groups dim"],
    teacher_graphs: Float[Array, "others dim"],
    norm: Norm = "l2",
) -> Float[Array, "groups others"]:
    """Squared Euclidean distance of every pair of graph vectors, of unit length with `l2`."""
    if norm == "l2":
        student_graphs, teacher_graphs = l2_normalise(student_graphs), l2_normalise(teacher_graphs)
    return squared_distances(student_graphs, teacher_graphs)


def pair_loss(
    distance: Float[Array, "groups others"],
    positive: Bool[Array, "groups others"],
    negative: Bool[Array, "groups others"],
    margin: float = 1.0,
    balanced: bool = True,
) -> Float[Array, ""]:
    """L_D: Eq. 11 read as Graph Matching Networks' pair loss.

    Formula of Lin-Yijie/Graph-Matching-Networks, GMN/loss.py:
    max(0, margin - t (1 - d)), t = 1 for positive pairs and -1 for negative ones.

    Args:
        distance: squared distances.
        balanced: half the mean over positives plus half the mean over negatives (0 where there
            are none); else the mean over positives alone.
    """
    pull = masked_mean(jax.nn.relu(margin - 1.0 + distance), positive)
    if not balanced:
        return pull
    push = masked_mean(jax.nn.relu(margin + 1.0 - distance), negative)
    return 0.5 * pull + 0.5 * push


def hinge(
    video: Float[Array, "batch dim"],
    eeg: Float[Array, "batch dim"],
    labels: Int[Array, " batch"],
    video_bank: MemoryBank,
    eeg_bank: MemoryBank,
    *,
    margin: float = 0.2,
    k: int = 64,
    candidates: Candidates = "bank_and_batch",
    reduction: Reduction = "mean",
    directions: Directions = "both",
) -> Float[Array, ""]:
    """L_C (Eqs. 12, 13): two-way hinge on cosines with hard negatives (fartashf/vsepp: model.py).

    The video anchor meets EEG negatives, the EEG anchor video negatives. An anchor without a
    negative of another stage adds 0.

    Args:
        labels: stages; rows below 0 take no part.
    """
    own = jnp.sum(l2_normalise(video) * l2_normalise(eeg), axis=-1, keepdims=True)
    pairs = [(video, eeg, eeg_bank)]
    if directions == "both":
        pairs.append((eeg, video, video_bank))
    total = jnp.zeros(())
    for anchors, others, bank in pairs:
        extra = (others, labels) if candidates == "bank_and_batch" else None
        cosine, valid = memory_bank.hardest(bank, anchors, labels, k, extra)
        violation = jax.nn.relu(margin - own + cosine)
        if reduction == "sum":
            total += jnp.sum(jnp.where(valid, violation, 0.0))
        else:
            total += masked_mean(masked_mean(violation, valid, axis=1), labels >= 0)
    return total


def _constant[Tree](tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf).astype(jnp.float32), tree)
