"""Coefficients, tables and spectra in the layout that the GPU kernels read and write.

Nodes are padded to whole blocks, so that a store is 16 bytes wide and needs no mask; the padding of a gradient is 0,
that of a spectrum is cut off.
"""

import jax
import jax.numpy as jnp
import numpy as np

from kernels.coefficients import Coefficients, Nodes, nodes
from kernels.dplr_math import stretch_gradient
from kernels.fused import State

# Rows that follow `a` and `b`: modulus2, modulus2_low, real4.
OTHER_ROWS = 3


def tables(length: int, padded: int) -> Nodes:
    """The tables of the nodes, the last node repeated to `padded` of them."""
    return Nodes(*(np.pad(x, (0, padded - x.size), mode="edge") for x in nodes(length)))


def rows(coefficients: Coefficients) -> jax.Array:
    """(H, 2 (2 D + 2) + 3, M): `a`, `b` and the other rows of every head."""
    others = coefficients.modulus2, coefficients.modulus2_low, coefficients.real4
    return jnp.concatenate([coefficients.a, coefficients.b, *(x[:, None] for x in others)], axis=1)


def pad_states(rows: jax.Array, padded: int) -> jax.Array:
    """States up to `padded` of them, whose F is finite and whose products are 0."""
    extra = ((0, 0), (0, 0), (0, padded - rows.shape[2]))
    return jnp.pad(rows, extra).at[:, -OTHER_ROWS, rows.shape[2] :].set(1)


def state(rows: list) -> State:
    """One state's values, as `rows` lays them out."""
    *products, modulus2, modulus2_low, real4 = rows
    half = len(products) // 2
    return State(products[:half], products[half:], modulus2, modulus2_low, real4)


def pad_gradient(gradient: jax.Array, padded: int) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part (D, H, padded) of a spectrum's gradient."""
    extra = ((0, 0), (0, 0), (0, padded - gradient.shape[2]))
    return jnp.pad(jnp.real(gradient), extra), jnp.pad(jnp.imag(gradient), extra)


def unpack_gradient(coefficients: Coefficients, sums: jax.Array) -> Coefficients:
    """From the sums over nodes (H, 2 (2 D + 2) + 3, states) in the order of `fused.StateGradient`."""
    products, states = coefficients.a.shape[1:]
    sums = sums[:, :, :states]
    a, b = sums[:, :products], sums[:, products : 2 * products]
    minus_modulus2, real4, minus_square = (sums[:, 2 * products + i] for i in range(OTHER_ROWS))
    stretch = stretch_gradient(coefficients.b, b, coefficients.real4, real4, -minus_square)
    beta = jnp.zeros_like(coefficients.beta)
    return Coefficients(a, b, -minus_modulus2, -minus_modulus2, real4, beta, stretch)
