"""The XLA implementation: sums over states as matrix products, a block of heads at a time.

A block's (heads, states, nodes) reciprocals stay in the cache and are never kept: the gradient recomputes them, so
memory grows with heads times nodes only.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from kernels.dplr_math import Coefficients, Nodes, coefficients, factor, nodes

# Reciprocals alive at a time. Two CPU cores were fastest at 2^20: the real and the imaginary part fill 8 MB. Short
# spectra fit in one block, which is twice as fast as a loop.
BLOCK_SIZE = 2**20


def dplr_spectrum(dt, w, b, p, c, length: int) -> jax.Array:
    """Arguments as in `kernels.dplr_spectrum`; float32 whatever the inputs' precision."""
    return jnp.moveaxis(_spectrum(coefficients(dt, w, b, p, c), length), 1, 0)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _spectrum(rows: Coefficients, length: int) -> jax.Array:
    """(H, D, nodes) complex64."""
    table = nodes(length)
    return _map_heads(lambda head: _head_spectrum(head, table), rows, rows.modulus2.shape[1] * table.t.size)


def _forward(rows: Coefficients, length: int):
    return _spectrum(rows, length), rows


def _backward(length: int, rows: Coefficients, cotangent: jax.Array):
    table = nodes(length)

    def head_gradient(head_and_cotangent):
        head, cotangent = head_and_cotangent
        return jax.vjp(lambda head: _head_spectrum(head, table), head)[1](cotangent)[0]

    return (_map_heads(head_gradient, (rows, cotangent), rows.modulus2.shape[1] * table.t.size),)


_spectrum.defvjp(_forward, _backward)


def _map_heads(function, operands, size_of_a_head: int):
    return lax.map(function, operands, batch_size=max(1, BLOCK_SIZE // size_of_a_head))


def _head_spectrum(head: Coefficients, nodes: Nodes) -> jax.Array:
    """(D, nodes) complex64 of one head's coefficients."""
    real, imaginary = factor(nodes, head.modulus2[:, None], head.modulus2_low[:, None], head.real4[:, None])
    rows = jnp.concatenate([head.a, head.b])
    (a_real, b_real), (a_imaginary, b_imaginary) = jnp.split(rows @ real, 2), jnp.split(rows @ imaginary, 2)
    sums = lax.complex(nodes.inverse * a_real - b_imaginary, nodes.inverse * a_imaginary + b_real)
    bc, bq, pc, pq = jnp.split(sums, _splits(sums.shape[0]))
    return lax.complex(jnp.ones_like(nodes.t), jnp.asarray(nodes.t)) * (bc + (head.beta - bq) * pc / (1 + pq))


def _splits(products: int) -> tuple[int, int, int]:
    directions = products // 2 - 1
    return directions, directions + 1, products - 1
