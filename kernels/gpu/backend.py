"""What differs between Pallas's backends, and the one kernel whose shape of work does."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from diffwave_jax.kernels.gpu.block_sizes import BlockSizes


class NodeSums(NamedTuple):
    """Sums over nodes for every state of a head.

    `load(head, where, *inputs)` reads a block of nodes; `add(arithmetic, block, rows, sums)` gives the new list of
    sums, elementwise over the block's nodes, for states whose coefficients are the list `rows`. `count` of them.
    """

    name: str
    load: Callable
    add: Callable
    count: int


class PallasBackend(NamedTuple):
    """One of Pallas's backends.

    `launch(program, name, grid, warps, out_shape)` is a function of trees of arrays, which runs `program(index,
    arithmetic, *references)` over the grid. `node_sums(index, arithmetic, rows, inputs, out, *, sums, sizes)` is the
    program of `NodeSums`, in the backend's own layout. `block_sizes(heads, states, nodes)` is its table of sizes.
    """

    launch: Callable
    node_sums: Callable
    block_sizes: Callable

    def sum_over_nodes(self, sums: NodeSums, sizes: BlockSizes, chunks: int, rows: jax.Array, inputs) -> jax.Array:
        """(H, count, states) from rows (H, coefficients, states), states whole blocks, and a tree of inputs.

        Every program writes the sums of its own chunk of nodes, which are then added up in a fixed order.
        """
        heads, _, states = rows.shape
        out_shape = (jax.ShapeDtypeStruct((chunks, heads, sums.count, states), jnp.float32),)
        program = partial(self.node_sums, sums=sums, sizes=sizes)
        grid = chunks, states // sizes.states, heads
        (partial_sums,) = self.launch(program, sums.name, grid, sizes.state_warps, out_shape)(rows, inputs)
        return partial_sums.sum(0)
