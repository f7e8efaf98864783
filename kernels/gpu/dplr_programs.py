"""The programs of the fused DPLR kernels: what one of them does with a block of nodes, in any Pallas backend.

Values are float32 arrays of nodes, states broadcast against them; loops run over states or blocks of nodes. `index` is
a program's position in the grid, `arithmetic` the backend's. References have the layout that
`diffwave_jax.kernels.gpu.dplr` gives them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl

from diffwave_jax.kernels import dplr_math
from diffwave_jax.kernels.complex_pair import Arithmetic, Pair

# The tables `kernels.coefficients.Nodes`, as Pallas's references.
Tables = Any

# Rows that follow `a` and `b`: modulus2, modulus2_low, real4.
OTHER_ROWS = 3


class StateCoefficients(NamedTuple):
    """Coefficients of one state, or a column of states: one `a` and `b` a product."""

    a: Sequence
    b: Sequence
    modulus2: object
    modulus2_low: object
    real4: object

    @staticmethod
    def of(rows: list) -> "StateCoefficients":
        """One state's values, in the order of the rows."""
        *products, modulus2, modulus2_low, real4 = rows
        half = len(products) // 2
        return StateCoefficients(products[:half], products[half:], modulus2, modulus2_low, real4)


class NodeBlock(NamedTuple):
    """A block of the tables `kernels.coefficients.Nodes`; `t` only where it is needed."""

    inverse: object
    square: object
    square_low: object
    t: object = None


class StateGradient(NamedTuple):
    """Sums over nodes, not yet over the lanes of the arrays: to `a`, to `b`, and the three of `dplr_math`."""

    a: list
    b: list
    minus_modulus2: object
    real4: object
    minus_square: object

    @staticmethod
    def of(sums: list, products: int) -> "StateGradient":
        """From its leaves."""
        return StateGradient(sums[:products], sums[products : 2 * products], *sums[2 * products :])


def forward(index, arithmetic: Arithmetic, tables: Tables, rows, beta, real, imaginary, *, block: int) -> None:
    """`block` nodes of one head's spectra, from (block of nodes, head)."""
    where, head = pl.ds(index[0] * block, block), index[1]
    sums = _sums(arithmetic, _load_nodes(tables, where), rows, head, first=0)
    for d, k in enumerate(dplr_math.spectrum(tables.t[where], beta[head], sums)):
        real[d, head, where], imaginary[d, head, where] = k


def sums_gradient(
    index, arithmetic: Arithmetic, tables: Tables, rows, beta, real, imaginary, to_real, to_imaginary, *, block: int
) -> None:
    """The gradient of `block` nodes of one head's sums R, from that of its spectra."""
    where, head = pl.ds(index[0] * block, block), index[1]
    directions = real.shape[0]
    sums = _sums(arithmetic, _load_nodes(tables, where), rows, head, first=directions)
    gradients = [Pair(real[d, head, where], imaginary[d, head, where]) for d in range(directions)]
    for v, g in enumerate(dplr_math.spectrum_gradient(tables.t[where], beta[head], sums, gradients)):
        to_real[head, v, where], to_imaginary[head, v, where] = g


def load_gradient_block(head, where, tables: Tables, to_real, to_imaginary) -> tuple[NodeBlock, list[Pair]]:
    """Nodes, and the gradient of one head's sums R there."""
    nodes = _load_nodes(tables, where)._replace(t=tables.t[where])
    return nodes, [Pair(to_real[head, v, where], to_imaginary[head, v, where]) for v in range(to_real.shape[1])]


def add_gradient_block(arithmetic: Arithmetic, block, rows: list, sums: list) -> list:
    """What a block adds to the sums of `StateGradient`, for one state or a column of states."""
    nodes, to_sums = block
    total = StateGradient.of(sums, len(to_sums))
    return jax.tree.leaves(add_state_gradient(arithmetic, nodes, StateCoefficients.of(rows), to_sums, total))


def _load_nodes(tables: Tables, where) -> NodeBlock:
    return NodeBlock(tables.inverse[where], tables.square[where], tables.square_low[where])


def _sums(arithmetic, nodes, rows, head, first: int) -> list[Pair]:
    """The products from the first on."""
    states, width = rows.shape[1:]
    products = (width - OTHER_ROWS) // 2

    def load_state(n):
        state = StateCoefficients.of([rows[head, n, i] for i in range(width)])
        return state._replace(a=state.a[first:], b=state.b[first:])

    return sums_over_states(arithmetic, nodes, load_state, states, products - first)


def sums_over_states(
    arithmetic: Arithmetic,
    nodes: NodeBlock,
    load_state: Callable[[object], StateCoefficients],
    states: int,
    products: int,
) -> list[Pair]:
    """The sums R of every product."""
    zero = zero_like(nodes.inverse)

    def add_state(n, sums):
        state = load_state(n)
        factor = dplr_math.factor(nodes, state.modulus2, state.modulus2_low, state.real4, arithmetic)
        return _add_to_sums(arithmetic, nodes, state, factor, sums)

    return lax.fori_loop(0, states, add_state, [Pair(zero, zero)] * products)


def _add_to_sums(arithmetic, nodes, state: StateCoefficients, factor: Pair, sums: list[Pair]) -> list[Pair]:
    multiply_add, subtract_product, _ = arithmetic
    over_t = Pair(nodes.inverse * factor.real, nodes.inverse * factor.imaginary)
    return [
        Pair(
            subtract_product(b, factor.imaginary, multiply_add(a, over_t.real, total.real)),
            multiply_add(b, factor.real, multiply_add(a, over_t.imaginary, total.imaginary)),
        )
        for a, b, total in zip(state.a, state.b, sums, strict=True)
    ]


def zero_like(loaded):
    """A zero that lies in registers as the loaded values do."""
    return loaded - loaded


def add_state_gradient(
    arithmetic: Arithmetic, nodes: NodeBlock, state: StateCoefficients, to_sums: list[Pair], total: StateGradient
) -> StateGradient:
    """What a block of nodes adds, from the gradient of the sums R there."""
    multiply_add, subtract_product, _ = arithmetic
    factor = dplr_math.factor(nodes, state.modulus2, state.modulus2_low, state.real4, arithmetic)
    over_t = Pair(nodes.inverse * factor.real, nodes.inverse * factor.imaginary)
    to_factor = _to_factor(arithmetic, nodes, state, to_sums)
    minus_modulus2, real4_over_t = dplr_math.factor_gradient(nodes, factor, to_factor, arithmetic)
    return StateGradient(
        a=[
            multiply_add(g.real, over_t.real, multiply_add(g.imaginary, over_t.imaginary, a))
            for g, a in zip(to_sums, total.a, strict=True)
        ],
        b=[
            multiply_add(g.imaginary, factor.real, subtract_product(g.real, factor.imaginary, b))
            for g, b in zip(to_sums, total.b, strict=True)
        ],
        minus_modulus2=total.minus_modulus2 + minus_modulus2,
        real4=multiply_add(nodes.t, real4_over_t, total.real4),
        minus_square=multiply_add(nodes.square, minus_modulus2, total.minus_square),
    )


def _to_factor(arithmetic, nodes, state: StateCoefficients, to_sums: list[Pair]) -> Pair:
    """`sum over products of (a / t - i b) to_sums`."""
    multiply_add, subtract_product, _ = arithmetic
    real, imaginary = state.a[0] * to_sums[0].real, state.a[0] * to_sums[0].imaginary
    for a, g in zip(state.a[1:], to_sums[1:], strict=True):
        real, imaginary = multiply_add(a, g.real, real), multiply_add(a, g.imaginary, imaginary)
    real, imaginary = nodes.inverse * real, nodes.inverse * imaginary
    for b, g in zip(state.b, to_sums, strict=True):
        real, imaginary = multiply_add(b, g.imaginary, real), subtract_product(b, g.real, imaginary)
    return Pair(real, imaginary)
