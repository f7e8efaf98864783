"""One program of each fused kernel, reading and writing references; what Pallas's backends share of them.

`index` is the program's position in the grid, `arithmetic` the backend's. References have the layout of
`kernels.packing`.
"""

import jax
from jax.experimental import pallas as pl

from kernels import dplr_math, fused, packing
from kernels.arithmetic import Arithmetic
from kernels.coefficients import Nodes
from kernels.complex_pair import Pair


def forward(index, arithmetic: Arithmetic, tables: Nodes, rows, beta, real, imaginary, *, block: int) -> None:
    """`block` nodes of one head's spectra, from (block of nodes, head)."""
    where, head = pl.ds(index[0] * block, block), index[1]
    sums = _sums(arithmetic, _load_nodes(tables, where), rows, head, first=0)
    for d, k in enumerate(dplr_math.spectrum(tables.t[where], beta[head], sums)):
        real[d, head, where], imaginary[d, head, where] = k


def sums_gradient(
    index, arithmetic: Arithmetic, tables: Nodes, rows, beta, real, imaginary, to_real, to_imaginary, *, block: int
) -> None:
    """The gradient of `block` nodes of one head's sums R, from that of its spectra."""
    where, head = pl.ds(index[0] * block, block), index[1]
    directions = real.shape[0]
    sums = _sums(arithmetic, _load_nodes(tables, where), rows, head, first=directions)
    gradients = [Pair(real[d, head, where], imaginary[d, head, where]) for d in range(directions)]
    for v, g in enumerate(dplr_math.spectrum_gradient(tables.t[where], beta[head], sums, gradients)):
        to_real[head, v, where], to_imaginary[head, v, where] = g


def load_gradient_block(head, where, tables: Nodes, to_real, to_imaginary) -> tuple[fused.NodeBlock, list[Pair]]:
    """Nodes, and the gradient of one head's sums R there."""
    nodes = _load_nodes(tables, where)._replace(t=tables.t[where])
    return nodes, [Pair(to_real[head, v, where], to_imaginary[head, v, where]) for v in range(to_real.shape[1])]


def add_gradient_block(arithmetic: Arithmetic, block, rows: list, sums: list) -> list:
    """What a block adds to the sums of `packing.unpack_gradient`, for one state or a column of states."""
    nodes, to_sums = block
    total = fused.StateGradient.of(sums, len(to_sums))
    return jax.tree.leaves(fused.add_state_gradient(arithmetic, nodes, packing.state(rows), to_sums, total))


def _load_nodes(tables: Nodes, where) -> fused.NodeBlock:
    return fused.NodeBlock(tables.inverse[where], tables.square[where], tables.square_low[where])


def _sums(arithmetic, nodes, rows, head, first: int) -> list[Pair]:
    """The products from the first on."""
    states, width = rows.shape[1:]
    products = (width - packing.OTHER_ROWS) // 2

    def load_state(n):
        state = packing.state([rows[head, n, i] for i in range(width)])
        return state._replace(a=state.a[first:], b=state.b[first:])

    return fused.sums_over_states(arithmetic, nodes, load_state, states, products - first)
