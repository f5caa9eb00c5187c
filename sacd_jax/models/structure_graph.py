"""Structure graph: a group of clips as a complete graph, embedded into one vector (Eqs. 6-10).

Node states pass attention-weighted messages along every ordered pair of clips, a gated sum reads
the graph out. Dimensions follow the paper's IV-B on the embedding network of Graph Matching
Networks (Li et al. 2019; Lin-Yijie/Graph-Matching-Networks, graphembeddingnetwork.py): no
attention across graphs.

The message network Linear(320 -> 512), ReLU, Linear(512 -> 512) is never applied to an edge as a
whole. Its first Linear splits into a part per receiver, per sender and per edge; its second one
commutes with the attention-weighted sum and with the score, so both act per node. The numbers are
the same, an edge costs 33 thousand multiplications instead of 427 thousand.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import jraph
import numpy as np
from jaxtyping import Array, Bool, Float

from sacd_jax.models.conv import backend

_glorot = nn.initializers.glorot_uniform()
# Glorot's limit times 0.1: messages start small, as in the TensorFlow original.
_small_glorot = nn.initializers.variance_scaling(0.01, "fan_avg", "uniform")
_NO_EDGE = -1e30


def complete_edges(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Senders and receivers (int32) of all ordered pairs, receiver by receiver.

    The pair of a node with itself is there, to keep the shape regular, and is never attended to.
    """
    receivers, senders = np.divmod(np.arange(nodes * nodes, dtype=np.int32), nodes)
    return senders, receivers


class StructureGraph(nn.Module):
    """Embeds groups of feature vectors; does not depend on the order inside a group.

    Attributes:
        input_dim: width of the graph-level encoder, between the features and the nodes.
        node_dim: width of a node's state.
        edge_dim: width of an edge's state.
        message_dim: width of a message.
        update_dim: hidden width of the residual update of a node.
        graph_dim: width of the graph's vector.
        layers: number of propagation layers.
        share_layers: all layers use one set of parameters.
    """

    input_dim: int = 64
    node_dim: int = 128
    edge_dim: int = 64
    message_dim: int = 512
    update_dim: int = 256
    graph_dim: int = 1024
    layers: int = 2
    share_layers: bool = True

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "groups nodes dim"],
        mask: Bool[Array, "groups nodes"] | None = None,
    ) -> Float[Array, "groups graph_dim"]:
        """Returns one vector per group, not normalised.

        Args:
            features: embeddings of the clips of each group.
            mask: false for rows that send no message and are not read out.
        """
        inputs = _dense(self.input_dim, "encoder")(features)
        states = _dense(self.node_dim, "node")(inputs)
        distances = jnp.abs(inputs[:, :, None] - inputs[:, None])
        edges = _dense(self.edge_dim, "edge")(distances)

        present = jnp.ones(features.shape[:2], bool) if mask is None else mask
        parameters: dict[str, Any] = {}
        edge_part = edges
        for layer in range(self.layers):
            if layer == 0 or not self.share_layers:
                parameters = self._propagation_parameters(layer)
                edge_part = edges @ parameters["message_in"]["edge"]
            propagate = jax.vmap(_propagation(parameters))
            states = propagate(states, edge_part, present)

        gates, values = jnp.split(_dense(2 * self.graph_dim, "readout")(states), 2, axis=-1)
        weights = nn.sigmoid(gates) * present[..., None]
        return _dense(self.graph_dim, "graph")((weights * values).sum(axis=1))

    def _propagation_parameters(self, layer: int) -> dict[str, Any]:
        """Parameters of a layer, the kernels that act on a concatenation cut into their parts."""
        prefix = "" if self.share_layers else f"layer{layer + 1}_"

        def linear(name: str, init: Callable, inputs: int, outputs: int) -> tuple[Array, Array]:
            kernel = self.param(f"{prefix}{name}_kernel", init, (inputs, outputs))
            return kernel, self.param(f"{prefix}{name}_bias", nn.initializers.zeros, (outputs,))

        node, message = self.node_dim, self.message_dim
        kernel_in, bias_in = linear("message_in", _small_glorot, 2 * node + self.edge_dim, message)
        receiver, sender, edge = jnp.split(kernel_in, (node, 2 * node))
        attention = self.param(f"{prefix}attention", _glorot, (node + message, 1))
        return {
            "message_in": {"receiver": receiver, "sender": sender, "edge": edge, "bias": bias_in},
            "message_out": linear("message_out", _small_glorot, message, message),
            "attention": (attention[:node], attention[node:]),
            "update_in": linear("update_in", _glorot, node + message, self.update_dim),
            "update_out": linear("update_out", _glorot, self.update_dim, node),
        }


def _dense(features: int, name: str) -> nn.Dense:
    return nn.Dense(features, kernel_init=_glorot, name=name)


def _propagation(parameters: dict[str, Any]) -> Callable[[Array, Array, Array], Array]:
    """One propagation layer over one group: (states, edge parts, present) -> new states.

    The functions given to the graph network use that edges stand receiver by receiver, equally
    many for each: sums and softmaxes over incoming edges are reshapes. What nodes contribute to an
    edge is broadcast before the network, which would gather it: a gather's gradient is a scatter,
    half of the whole cost on a CPU.
    """
    message_in = parameters["message_in"]
    out_kernel, out_bias = parameters["message_out"]
    state_score, message_score = parameters["attention"]
    score_kernel, score_bias = out_kernel @ message_score, out_bias @ message_score
    update_in, update_in_bias = parameters["update_in"]
    update_out, update_out_bias = parameters["update_out"]

    def hidden_messages(edges, _sent, _received, _globals):
        return edges | {"hidden": nn.relu(edges["input"])}

    def scores(edges, _sent, _received, _globals):
        score = edges["score"] + edges["hidden"] @ score_kernel + score_bias
        return jnp.where(edges["exists"], nn.leaky_relu(score, 0.2), _NO_EDGE)

    def incoming_softmax(score, *, segment_ids, num_segments):
        del segment_ids
        return nn.softmax(score.reshape(num_segments, -1, 1), axis=1).reshape(score.shape)

    def incoming_sum(hidden, segment_ids, num_segments):
        # Also asked for sums by sender, which the update does not read.
        del segment_ids
        return hidden.reshape(num_segments, -1, hidden.shape[-1]).sum(axis=1)

    def update(nodes, _sent, received, _globals):
        messages = jnp.where(nodes["has_neighbour"], received @ out_kernel + out_bias, 0.0)
        hidden = jnp.concatenate([nodes["state"], messages], axis=-1) @ update_in
        hidden = nn.relu(hidden + update_in_bias)
        return nodes["state"] + hidden @ update_out + update_out_bias

    network = jraph.GraphNetwork(
        update_edge_fn=hidden_messages,
        update_node_fn=update,
        aggregate_edges_for_nodes_fn=incoming_sum,
        attention_logit_fn=scores,
        attention_normalize_fn=incoming_softmax,
        attention_reduce_fn=lambda edges, weights: edges["hidden"] * weights,
    )

    def propagate(states: Array, edge_part: Array, present: Array) -> Array:
        count = states.shape[0]
        senders, receivers = complete_edges(count)
        exists = present[None, :] & ~np.eye(count, dtype=bool)
        sent = states @ message_in["sender"]
        received = states @ message_in["receiver"] + message_in["bias"]
        pairs = edge_part + sent[None, :] + received[:, None]
        graph = jraph.GraphsTuple(
            nodes={"state": states, "has_neighbour": exists.any(axis=1, keepdims=True)},
            edges={
                "input": pairs.reshape(count * count, -1),
                "score": jnp.repeat(states @ state_score, count, axis=0),
                "exists": exists.reshape(-1, 1),
            },
            senders=jnp.asarray(senders),
            receivers=jnp.asarray(receivers),
            globals=None,
            n_node=jnp.array([count]),
            n_edge=jnp.array([count * count]),
        )
        return network(graph).nodes

    return propagate


def embed_together(
    network: StructureGraph,
    params: Sequence[Mapping[str, Any]],
    features: Sequence[Float[Array, "_groups nodes dim"]],
    masks: Sequence[Bool[Array, "_groups nodes"]],
) -> list[Float[Array, "_groups graph_dim"]]:
    """Embeds groups by several networks of one shape; on a GPU in one pass, of half the launches.

    Elsewhere launches cost little, and the copies of the parameters and the empty groups that fill
    up the fewer ones cost more: figures are in docs/step-costs.md.

    Args:
        network: the networks' shape.
        params: one network's after the other's.
        features, masks: each network's, see `StructureGraph`; the numbers of groups may differ.
    """

    def embed(own: Mapping[str, Any], groups: Array, mask: Array) -> Array:
        return network.apply({"params": own}, groups, mask)

    if backend() != "gpu":
        return list(map(embed, params, features, masks))
    most = max(map(len, features))

    def filled(groups: Array) -> Array:
        return jnp.pad(groups, ((0, most - len(groups)), *((0, 0),) * (groups.ndim - 1)))

    rows = (jnp.stack(list(map(filled, each))) for each in (features, masks))
    graphs = jax.vmap(embed)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *params), *rows)
    return [found[: len(groups)] for found, groups in zip(graphs, features, strict=True)]
