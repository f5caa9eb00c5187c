import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacd_jax.models.conv import tracing_for
from sacd_jax.models.structure_graph import StructureGraph, complete_edges, embed_together

SMALL = {
    "input_dim": 6,
    "node_dim": 8,
    "edge_dim": 5,
    "message_dim": 12,
    "update_dim": 7,
    "graph_dim": 10,
}


def dense(params, name, x):
    return x @ params[name]["kernel"] + params[name]["bias"]


def oracle(params, features, layers, share_layers):
    """The network as the paper writes it, its message network on every edge, for one group."""
    count = len(features)
    inputs = dense(params, "encoder", features)
    states = dense(params, "node", inputs)
    edges = dense(params, "edge", jnp.abs(inputs[:, None] - inputs[None]))
    itself = np.eye(count, dtype=bool)
    for layer in range(layers):
        prefix = "" if share_layers else f"layer{layer + 1}_"
        p = {k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}
        pairs = (count, count, states.shape[-1])
        receivers = jnp.broadcast_to(states[:, None], pairs)
        senders = jnp.broadcast_to(states[None], pairs)
        triples = jnp.concatenate([receivers, senders, edges], axis=-1)
        hidden = jax.nn.relu(triples @ p["message_in_kernel"] + p["message_in_bias"])
        messages = hidden @ p["message_out_kernel"] + p["message_out_bias"]
        scores = jnp.concatenate([receivers, messages], axis=-1) @ p["attention"][:, 0]
        scores = jnp.where(scores > 0, scores, 0.2 * scores)
        weights = jax.nn.softmax(scores, axis=1, where=~itself)
        totals = jnp.sum(weights[..., None] * messages, axis=1)
        both = jnp.concatenate([states, totals], axis=-1)
        hidden = jax.nn.relu(both @ p["update_in_kernel"] + p["update_in_bias"])
        states = states + hidden @ p["update_out_kernel"] + p["update_out_bias"]
    gates, values = jnp.split(dense(params, "readout", states), 2, axis=-1)
    return dense(params, "graph", (jax.nn.sigmoid(gates) * values).sum(axis=0))


def make(groups, nodes, dim=9, dtype=np.float32, **options):
    """A small graph network with random weights and biases, and features."""
    graph = StructureGraph(**SMALL | options)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(groups, nodes, dim)).astype(dtype)
    shapes = jax.eval_shape(graph.init, jax.random.key(1), features)["params"]
    params = jax.tree.map(lambda a: rng.normal(scale=0.3, size=a.shape).astype(dtype), shapes)
    return graph, params, features


def test_parameter_count():
    shapes = jax.eval_shape(
        StructureGraph().init, jax.random.key(0), jax.ShapeDtypeStruct((2, 16, 512), "float32")
    )
    sizes = {k: sum(a.size for a in jax.tree.leaves(v)) for k, v in shapes["params"].items()}
    assert sum(sizes.values()) == 1_983_744
    assert sizes["encoder"] == 32_832
    assert sizes["readout"] == 264_192
    assert sizes["attention"] == 640


def test_edges_are_all_pairs_receiver_by_receiver():
    senders, receivers = complete_edges(3)
    assert receivers.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert senders.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("nodes", "share_layers"), [(4, True), (3, False), (2, True)])
def test_equals_the_dense_network_with_its_gradients(nodes, share_layers):
    with jax.enable_x64(True):
        graph, params, features = make(2, nodes, dtype=np.float64, share_layers=share_layers)

        def ours(params, features):
            out = graph.apply({"params": params}, features)
            return jnp.sum(jnp.sin(out)), out

        def reference(params, features):
            out = jax.vmap(lambda group: oracle(params, group, 2, share_layers))(features)
            return jnp.sum(jnp.sin(out)), out

        results = [
            jax.jit(jax.value_and_grad(f, (0, 1), has_aux=True))(params, features)
            for f in (ours, reference)
        ]
        jax.tree.map(
            lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10), *results
        )


def test_order_inside_a_group_does_not_matter():
    graph, params, features = make(2, 6)
    order = jnp.array([3, 0, 5, 1, 4, 2])
    a = jax.jit(graph.apply)({"params": params}, features)
    b = jax.jit(graph.apply)({"params": params}, features[:, order])
    np.testing.assert_allclose(a, b, atol=1e-5 * float(jnp.abs(a).max()))


def test_groups_do_not_see_each_other():
    graph, params, features = make(3, 4)
    whole = jax.jit(graph.apply)({"params": params}, features)
    alone = jax.jit(graph.apply)({"params": params}, features[1:2])
    np.testing.assert_allclose(whole[1:2], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("left", [1, 3])
def test_masked_rows_are_as_if_absent(left):
    graph, params, features = make(1, 5)
    mask = jnp.arange(5)[None] < left
    masked = jax.jit(graph.apply)({"params": params}, features, mask)
    absent = jax.jit(graph.apply)({"params": params}, features[:, :left])
    np.testing.assert_allclose(masked, absent, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("nodes", [1, 4])
def test_gradients_are_finite(nodes):
    with jax.enable_x64(True):
        graph, params, features = make(2, nodes, dtype=np.float64)

        @jax.jit
        def grads(features, mask):
            total = lambda p, x: jnp.sum(graph.apply({"params": p}, x, mask))  # noqa: E731
            return jax.grad(total, (0, 1))(params, features)

        everyone, nobody = (np.full(features.shape[:2], there) for there in (True, False))
        equal_rows = np.ones_like(features)
        for case in ((equal_rows, everyone), (features, nobody), (1e6 * features, everyone)):
            for grad in jax.tree.leaves(grads(*case)):
                assert np.isfinite(grad).all()


def test_two_networks_in_one_pass_equal_each_alone_with_their_gradients():
    with jax.enable_x64(True):
        graph, params, features = make(3, 4, dtype=np.float64, layers=1)
        both = [params, jax.tree.map(lambda a: a[::-1], params)]
        groups = [features[:2], features]
        masks = [np.ones((2, 4), bool), np.arange(4) < np.array([[4], [2], [0]])]

        def with_gradients(backend):
            def loss(both, groups):
                found = embed_together(graph, both, groups, masks)
                return sum(jnp.sum(jnp.sin(graphs)) for graphs in found), found

            with tracing_for(backend):
                return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(both, groups)

        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
            with_gradients("cpu"),
            with_gradients("gpu"),
        )
