"""What CRD and CMC do with a bank that has a row for every clip: score, read and write rows.

A bank is whole on every device, or its rows are spread over them (`spread`). Then each device
scores all anchors against the rows that it has, and scores and vectors travel in place of the bank.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sacd_jax.objectives.rows import Rows, by_rows


def scores(
    anchors: Float[Array, "batch dim"], bank: Float[Array, "rows dim"], spread: bool
) -> Float[Array, "batch rows"]:
    """Inner products of each anchor with all rows."""
    if not spread:
        return anchors @ bank.T

    def on_device(rows: Rows, _: None, mine: tuple[Array, Array]) -> Array:
        anchors, bank = mine
        return rows.deal_out(rows.gather(anchors) @ bank.T)

    return by_rows(on_device, None, (anchors, bank), spread=True)


def read(
    bank: Float[Array, "rows dim"], index: Int[Array, " batch"], spread: bool
) -> Float[Array, "batch dim"]:
    """The rows `index`."""
    if not spread:
        return bank[index]

    def on_device(rows: Rows, _: None, mine: tuple[Array, Array]) -> Array:
        bank, index = mine
        place = _place_here(rows, rows.gather(index), len(bank))
        return rows.sum_of_mine(bank.at[place].get(mode="fill", fill_value=0))

    return by_rows(on_device, None, (bank, index), spread=True)


def write(
    bank: Float[Array, "rows dim"],
    index: Int[Array, " batch"],
    vectors: Float[Array, "batch dim"],
    spread: bool,
) -> Float[Array, "rows dim"]:
    """The bank with `vectors` in the rows `index`; an index past its end is left out."""
    if not spread:
        return bank.at[index].set(vectors, mode="drop")

    def on_device(rows: Rows, _: None, mine: tuple[Array, Array, Array]) -> Array:
        bank, index, vectors = mine
        place = _place_here(rows, rows.gather(index), len(bank))
        return bank.at[place].set(rows.gather(vectors), mode="drop")

    return by_rows(on_device, None, (bank, index, vectors), spread=True)


def _place_here(rows: Rows, index: Int[Array, " batch"], size: int) -> Int[Array, " batch"]:
    """Where rows of the bank stand in this device's part; past its end for those of others."""
    place = index - rows.place() * size
    return jnp.where((place >= 0) & (place < size), place, size)
