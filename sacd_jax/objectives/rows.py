"""A loss taken device by device: each has some rows of the batch and asks little of the others.

Left to itself, XLA's partitioner gathers intermediate arrays again and again, the more the more
devices there are. Here every exchange is written down. With all rows in one place none is needed,
and the same function is plain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Shaped

from sacd_jax.objectives.losses import masked_mean

_NEAR = 8
"""Devices of a machine, as most have them."""
_SMALL = 4096
"""Bytes a device; less is joined with other sums by the compiler."""


@dataclass(frozen=True)
class Rows:
    """The rows that a device has, of a batch that lies on several.

    Attributes:
        axis: of the mesh, along which the rows are dealt out; None: all of them are here.
    """

    axis: str | None = None

    def sum[Tree](self, tree: Tree) -> Tree:
        """Sums over the devices."""
        return tree if self.axis is None else jax.lax.psum(tree, self.axis)

    def gather(self, mine: Shaped[Array, "rows *shape"]) -> Shaped[Array, "all_rows *shape"]:
        """The rows of all devices, in the batch's order."""
        return mine if self.axis is None else _gather(self.axis, mine)

    def place(self) -> Int[Array, ""]:
        """Number of this device."""
        return jnp.zeros((), jnp.int32) if self.axis is None else jax.lax.axis_index(self.axis)

    def mine(self, everything: Shaped[Array, "all_rows *shape"]) -> Shaped[Array, "rows *shape"]:
        """This device's part of what `gather` gave."""
        if self.axis is None:
            return everything
        size = len(everything) // jax.lax.axis_size(self.axis)
        return jax.lax.dynamic_slice_in_dim(everything, self.place() * size, size)

    def deal_out(self, columns: Shaped[Array, "all_rows part"]) -> Shaped[Array, "rows whole"]:
        """Of an array that lies by columns, with all rows, this device's rows with all columns."""
        if self.axis is None:
            return columns
        return jax.lax.all_to_all(columns, self.axis, split_axis=0, concat_axis=1, tiled=True)

    def sum_of_mine(
        self, everything: Float[Array, "all_rows *shape"]
    ) -> Float[Array, "rows *shape"]:
        """Sums over the devices, of which each keeps its own rows."""
        if self.axis is None:
            return everything
        return jax.lax.psum_scatter(everything, self.axis, tiled=True)

    def of_first_device[Tree](self, tree: Tree) -> Tree:
        """The first device's arrays, for all."""
        chosen = jax.tree.map(lambda leaf: jnp.where(self.place() == 0, leaf, 0), tree)
        summed = self.sum(chosen)
        return jax.tree.map(lambda total, leaf: total.astype(leaf.dtype), summed, tree)

    def own[Tree](self, tree: Tree) -> Tree:
        """Parameters as the device's own copy; their gradients are summed once, all together."""
        return tree if self.axis is None else jax.lax.pcast(tree, self.axis, to="varying")

    def masked_mean(
        self, values: Float[Array, "*shape"], mask: Bool[Array, "*shape"]
    ) -> Float[Array, ""]:
        """Mean over all devices of the values whose mask is True; 0 if there are none."""
        if self.axis is None:
            return masked_mean(values, mask)
        total, count = self.sum((jnp.sum(jnp.where(mask, values, 0.0)), jnp.sum(mask)))
        return total / jnp.maximum(count, 1)

    def products(
        self, first: Float[Array, "rows dim"], second: Float[Array, "rows dim"]
    ) -> tuple[Float[Array, "rows all_rows"], Float[Array, "rows all_rows"]]:
        """Inner products of the first vectors here with all the second ones, and the other way.

        The gradient of a vector comes from the pairs that are here and from those elsewhere; it is
        the products' gradients that are exchanged, not the vectors' (`dim` times as many).
        """
        if self.axis is None:
            return first @ second.T, second @ first.T
        return _products(self.axis, first, second)


ALL_HERE = Rows()
"""Of a batch that lies in one place, or that the partitioner is to deal out."""


def by_rows[Result](
    function: Callable[[Rows, Any, Any], Result],
    whole: Any,
    rows: Any,
    together: int = 1,
    *,
    spread: bool = False,
) -> Result:
    """Calls `function(Rows, whole, rows)` on each device of the mesh that a step is traced for.

    Without such a mesh, or where the batch cannot be dealt out in whole groups, all rows are in one
    place: the partitioner's business.

    Args:
        function: returns arrays that are equal on all devices, or rows of arrays.
        whole: a tree of arrays that every device has.
        rows: a tree of arrays over the batch, or other arrays that are spread by their rows.
        together: a device's rows are a multiple of this many.
        spread: whether the results are rows.
    """
    mesh = jax.sharding.get_abstract_mesh()
    counts = map(len, jax.tree.leaves(rows))
    if mesh.empty or mesh.size == 1 or any(count % (mesh.size * together) for count in counts):
        return function(ALL_HERE, whole, rows)
    (axis,) = mesh.axis_names
    dealt_out = jax.shard_map(
        lambda whole, rows: function(Rows(axis), whole, rows),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(axis)),
        out_specs=PartitionSpec(axis) if spread else PartitionSpec(),
    )
    return dealt_out(whole, rows)


def _gather(axis: str, mine: Array) -> Array:
    """All rows: first those of a machine's devices, then those of the machines.

    In one go libtpu sums arrays of zeros and one device's rows in place of gathering what is less
    than some 20 MB together: 8.4 MB that a device of 256 puts in where 0.3 will do.
    """
    devices = jax.lax.axis_size(axis)
    gather = partial(jax.lax.all_gather, axis_name=axis, tiled=True)
    if devices <= _NEAR or devices % _NEAR or mine.nbytes < _SMALL:
        return gather(mine)
    near = [list(range(first, first + _NEAR)) for first in range(0, devices, _NEAR)]
    far = [list(range(place, devices, _NEAR)) for place in range(_NEAR)]
    return gather(gather(mine, axis_index_groups=near), axis_index_groups=far)


def _forward(axis: str, first: Array, second: Array) -> tuple[tuple[Array, Array], Any]:
    all_first, all_second = _gather(axis, first), _gather(axis, second)
    return (first @ all_second.T, second @ all_first.T), (all_first, all_second)


def _backward(axis: str, kept: Any, gradients: tuple[Array, Array]) -> tuple[Array, Array]:
    all_first, all_second = kept
    there, back = gradients

    def of_the_others(gradient: Array) -> Array:
        return jax.lax.all_to_all(gradient, axis, split_axis=1, concat_axis=0, tiled=True).T

    return (there + of_the_others(back)) @ all_second, (back + of_the_others(there)) @ all_first


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _products(axis: str, first: Array, second: Array) -> tuple[Array, Array]:
    return _forward(axis, first, second)[0]


_products.defvjp(_forward, _backward)
