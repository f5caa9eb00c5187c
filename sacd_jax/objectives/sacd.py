"""SACD: structure- and sample-level contrastive distillation (the paper's Eqs. 1-13).

Three losses in addition to the task's cross-entropy (Eq. 5): `graph` pulls the student's and the
teacher's graph of a group of clips together and pushes those of different groups apart (L_D),
`contrast` does the same for single clips and hard negatives of other stages (L_C), and `jsd` pulls
the class distributions together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from input_pipeline.errors import UserError
from sacd_jax.models.encoder import EncoderSpec
from sacd_jax.models.structure_graph import StructureGraph, embed_together
from sacd_jax.objectives import memory_bank
from sacd_jax.objectives.graph_pairs import Norm, graph_distances, pair_loss
from sacd_jax.objectives.knowledge import mutual_wins, wins
from sacd_jax.objectives.losses import (
    JsdVariant,
    jsd,
    l2_normalise,
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
    linear,
    linear_init,
    project_teacher,
    projection_init,
)
from sacd_jax.objectives.rows import Rows, by_rows
from sacd_jax.objectives.sample_contrast import (
    Candidates,
    Directions,
    Reduction,
    sample_contrast,
)
from sacd_jax.registry import Count

Negatives = Literal["groups_and_previous", "groups", "previous", "none"]
HardestPer = Literal["all", "class"]
Chosen = Literal["semi_hard"]
KeyEncoder = Literal["ema", "student"]
Scalars = dict[str, Float[Array, ""]]

SIDES = ("student", "teacher")


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
        hardest_share: takes this share of an anchor's negatives (of each class with `hardest_per`)
            in place of K of them; 1.0 takes all.
        hardest_warmup: steps over which the number of negatives falls from all to what is asked for
            above; None begins with that.
        negatives: `semi_hard` chooses among negatives that lie behind the own pair, by less than
            the margin, as the authors' code does; None among all.
        temperature: L_C is InfoNCE on the chosen negatives at this temperature; None: the hinge.
        contrast_dim: width to which trained linear layers take both sides for L_C alone; None
            compares the vectors as they are.
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
    hardest_share: float | None = None
    hardest_warmup: Count | None = None
    negatives: Chosen | None = None
    temperature: float | None = None
    contrast_dim: Count | None = None
    bank_size: Count = 256
    candidates: Candidates = "bank_and_batch"
    lc_reduction: Reduction = "mean"
    lc_directions: Directions = "both"
    jsd_variant: JsdVariant = "js"
    key_encoder: KeyEncoder = "ema"
    projection_decay: float = 0.999

    measurable = True

    def __post_init__(self) -> None:
        try:
            self._network()
        except TypeError as error:
            raise UserError(f"objective option graph does not fit: {error}") from None
        share = self.hardest_share
        if isinstance(share, float) and not 0 < share <= 1:
            raise UserError(f"objective option hardest_share is {share}, expected more than 0 to 1")
        if isinstance(self.temperature, float) and self.temperature <= 0:
            raise UserError(
                f"objective option temperature is {self.temperature}, expected more than 0"
            )

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
            teacher_dim = dim
            if self.contrast_dim is not None:
                teacher_dim = teacher_spec.embedding_dim
                rngs = jax.random.split(jax.random.fold_in(rng, 1))
                for side, rng_side, width in zip(SIDES, rngs, (dim, teacher_dim), strict=True):
                    params[f"{side}_contrast"] = linear_init(rng_side, width, self.contrast_dim)
            elif "projection" in params:
                buffers["projection"] = jax.tree.map(jnp.copy, params["projection"])
            buffers["teacher_bank"] = memory_bank.empty(self.bank_size, teacher_dim)
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
        if seen.keys is not None and seen.keys.fresh is not None:
            rows["key_mask"] = seen.mask & seen.keys.fresh
        num_classes = seen.student.logits.shape[-1] if self.hardest_per == "class" else None
        terms = partial(self._terms, num_classes=num_classes)
        whole = (params, buffers, seen.step)
        losses, logged, changed = by_rows(terms, whole, rows, self.clips_per_graph)
        if self.weights["jsd"] != 0:
            logits = (seen.student.logits, seen.teacher.logits)
            losses["jsd"] = jsd(*logits, seen.mask, self.jsd_variant)
        return Terms(losses, logged), {**buffers, **changed}

    def _terms(
        self,
        rows: Rows,
        whole: tuple[Params, Buffers, Int[Array, ""]],
        batch: Mapping[str, Array],
        num_classes: int | None,
    ) -> tuple[Scalars, Scalars, dict[str, Any]]:
        """L_D and L_C, what is logged, and the buffers that change."""
        params, buffers, step = whole
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
            losses["contrast"] = sample_contrast(
                *self.contrasted(own_params, batch["student"], batch["teacher"]),
                labels,
                *self._banks(own_params, buffers),
                margin=self.margin,
                k=self.hardest,
                share=self.hardest_share,
                all_the_more=self._all_the_more(step),
                semi_hard=self.negatives == "semi_hard",
                num_classes=num_classes,
                candidates=self.candidates,
                temperature=self.temperature,
                reduction=self.lc_reduction,
                directions=self.lc_directions,
                rows=rows,
            )
            changed |= self._pushed(rows, params, buffers, batch, labels)
        return losses, logged, changed

    def _all_the_more(self, step: Int[Array, ""]) -> Float[Array, ""] | None:
        """Share of the easier negatives that is still taken; None without a warm-up."""
        if self.hardest_warmup is None:
            return None
        return jnp.maximum(0.0, 1.0 - step / self.hardest_warmup)

    def _banks(self, params: Params, buffers: Buffers) -> list[MemoryBank]:
        """Both banks at the width at which L_C compares."""
        banks = [buffers[f"{side}_bank"] for side in SIDES]
        if self.contrast_dim is None:
            return banks
        return [
            bank.replace(features=_projected(params, side, bank.features))
            for side, bank in zip(SIDES, banks, strict=True)
        ]

    def contrasted(
        self,
        params: Params,
        student: Float[Array, "batch student_dim"],
        teacher: Float[Array, "batch teacher_dim"],
    ) -> tuple[Float[Array, "batch dim"], Float[Array, "batch dim"]]:
        """The vectors that L_C compares, of embeddings of both sides."""
        if self.contrast_dim is None:
            return student.astype(jnp.float32), project_teacher(params, teacher)
        sides = zip(SIDES, (student, teacher), strict=True)
        first, second = (_projected(params, side, l2_normalise(of)) for side, of in sides)
        return first, second

    def _pushed(
        self,
        rows: Rows,
        params: Params,
        buffers: Buffers,
        batch: Mapping[str, Array],
        labels: Int[Array, " batch"],
    ) -> dict[str, Any]:
        """The banks with the batch's keys, and the averaged projection.

        With `contrast_dim` keys are stored as they are, and projected when they are compared.
        """
        changed: dict[str, Any] = {}
        if self.lc_directions == "both":
            key = l2_normalise(batch.get("student_key", batch["student"]))
            fresh = labels
            if "key_mask" in batch:
                fresh = jnp.where(batch["key_mask"], labels, memory_bank.EMPTY)
            changed["student_bank"] = memory_bank.push(buffers["student_bank"], key, fresh, rows)
        if "projection" in buffers:
            changed["projection"] = optax.incremental_update(
                _constant(params["projection"]),
                buffers["projection"],
                1.0 - self.projection_decay,
            )
        key = batch.get("teacher_key", batch["teacher"])
        if self.contrast_dim is None:
            key = project_teacher(changed, key)
        changed["teacher_bank"] = memory_bank.push(
            buffers["teacher_bank"], l2_normalise(key), labels, rows
        )
        return changed

    def ranks(self, params: Params, buffers: Buffers, seen: Seen) -> dict[str, Float[Array, ""]]:
        """How far a clip's own vector, or a group's own graph, lies in front of the others'."""
        found, stage = {}, seen.batch["stage"]
        student = seen.student.embedding.astype(jnp.float32)
        if self.weights["contrast"] != 0:
            vectors = self.contrasted(params, seen.student.embedding, seen.teacher.embedding)
            first, second = map(l2_normalise, vectors)
            distance = -first @ second.T
            found["contrast_wins"] = mutual_wins(distance)
            found["contrast_wins_other_stages"] = mutual_wins(distance, stage[:, None] != stage)
            cosine, other, _ = memory_bank.negatives(self._banks(params, buffers)[1], first, stage)
            found["contrast_wins_bank"] = wins(jnp.diagonal(distance), -cosine, other)
        if self.weights["graph"] != 0:
            vectors = student, project_teacher(params, seen.teacher.embedding)
            graphs = [
                self._network().apply(
                    {"params": params[f"{side}_graph"]},
                    rows.reshape(-1, self.clips_per_graph, rows.shape[-1]),
                )
                for side, rows in zip(SIDES, vectors, strict=True)
            ]
            found["graph_wins"] = mutual_wins(graph_distances(*graphs, self.ld_norm))
        return found

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
        sides = [params[f"{side}_graph"] for side in SIDES]
        masks = members, teacher_members
        student_graphs, teacher_graphs = embed_together(network, sides, (student, teacher), masks)

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


def _projected(
    params: Params, side: str, embedding: Float[Array, "rows width"]
) -> Float[Array, "rows dim"]:
    return linear(params[f"{side}_contrast"], embedding)


def _constant[Tree](tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jax.lax.stop_gradient(leaf).astype(jnp.float32), tree)
