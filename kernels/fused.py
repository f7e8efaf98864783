"""The fused kernels' bodies: what one program does with values already loaded, in any Pallas backend.

Values are float32 arrays of nodes, states broadcast against them; loops run over states or blocks of nodes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jax import lax

from kernels import dplr_math
from kernels.arithmetic import Arithmetic
from kernels.complex_pair import Pair


class State(NamedTuple):
    """Coefficients of one state, or a column of states: one `a` and `b` a product."""

    a: Sequence
    b: Sequence
    modulus2: object
    modulus2_low: object
    real4: object


class NodeBlock(NamedTuple):
    """A block of the tables `kernels.coefficients.Nodes`; `t` only where it is needed."""

    inverse: object
    square: object
    square_low: object
    t: object = None


def sums_over_states(
    arithmetic: Arithmetic, nodes: NodeBlock, load_state: Callable[[object], State], states: int, products: int
) -> list[Pair]:
    """The sums R of every product."""
    zero = zero_like(nodes.inverse)

    def add_state(n, sums):
        state = load_state(n)
        factor = dplr_math.factor(nodes, state.modulus2, state.modulus2_low, state.real4, arithmetic)
        return _add_to_sums(arithmetic, nodes, state, factor, sums)

    return lax.fori_loop(0, states, add_state, [Pair(zero, zero)] * products)


def _add_to_sums(arithmetic, nodes, state: State, factor: Pair, sums: list[Pair]) -> list[Pair]:
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


def add_state_gradient(
    arithmetic: Arithmetic, nodes: NodeBlock, state: State, to_sums: list[Pair], total: StateGradient
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


def _to_factor(arithmetic, nodes, state: State, to_sums: list[Pair]) -> Pair:
    """`sum over products of (a / t - i b) to_sums`."""
    multiply_add, subtract_product, _ = arithmetic
    real, imaginary = state.a[0] * to_sums[0].real, state.a[0] * to_sums[0].imaginary
    for a, g in zip(state.a[1:], to_sums[1:], strict=True):
        real, imaginary = multiply_add(a, g.real, real), multiply_add(a, g.imaginary, imaginary)
    real, imaginary = nodes.inverse * real, nodes.inverse * imaginary
    for b, g in zip(state.b, to_sums, strict=True):
        real, imaginary = multiply_add(b, g.imaginary, real), subtract_product(b, g.real, imaginary)
    return Pair(real, imaginary)
