"""The arithmetic that every fast implementation shares, in real float32 numbers only.

With `theta = 2 pi l / length` and `t = tan(theta / 2)` the bilinear transform's node is `z = 2 i t`. For a product
`v = u_n v_n` and the scaled eigenvalue `dt w`, a conjugate pair's term of the Cauchy sum `R_uv` is

    (a / t + i b) F,    a = -2 dt Re(v conj(dt w)),    b = 4 dt Re(v),
    F = 1 / ((|dt w|^2 - 4 t^2) / t - 4 i Re(dt w)).

All products share F. They are, in this order, `B C_d`, `B Q`, `P C_d`, `P Q` with Q = conj(P), and Woodbury's
correction makes the spectrum `K_d = (1 + i t) (R_BCd - R_BQ R_PCd / (1 + R_PQ))`.

Two things keep float32 accurate next to an eigenvalue, where little is left of large numbers:

- The two terms of K cancel there, and more so in the gradient to dt. K stays the same when B is split as
  `B' + beta P`, for any real beta: `K_d = (1 + i t) (R_B'Cd + (beta - R_B'Q) R_PCd / (1 + R_PQ))`. With beta the
  least-squares fit nothing is left to cancel for HiPPO-LegS, where `B = sqrt(2) P`, and less for other B.
- `|dt w|^2` and `4 t^2` are each kept as a sum of two float32 numbers, and their high parts subtract exactly.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kernels import double_float

# Stand for t = 0, where 1 / t would be infinite, and for t = infinity at the Nyquist node; the spectrum differs from
# that at the true nodes by far less than float32's rounding.
SMALLEST_T, LARGEST_T = 1e-10, 1e7


class Nodes(NamedTuple):
    """What depends on the node alone, float32 (nodes,): `t`, `1 / t`, and `4 t^2` as a sum of two."""

    t: np.ndarray
    inverse: np.ndarray
    square: np.ndarray
    square_low: np.ndarray


class Coefficients(NamedTuple):
    """What depends on the head and state, float32: `a`, `b` (H, 2 D + 2, M), `beta` (H,), the others (H, M).

    `modulus2 + modulus2_low` is `|dt w|^2`, `real4` is `4 Re(dt w)`.
    """

    a: jax.Array
    b: jax.Array
    modulus2: jax.Array
    modulus2_low: jax.Array
    real4: jax.Array
    beta: jax.Array


def nodes(length: int) -> Nodes:
    """The nodes `t = tan(pi l / length)`, l = 0..length // 2, computed in float64."""
    t = np.clip(np.abs(np.tan(np.pi * np.arange(length // 2 + 1) / length)), SMALLEST_T, LARGEST_T)
    return Nodes(t.astype(np.float32), (1 / t).astype(np.float32), *double_float.split(4 * t * t))


def coefficients(dt, w, b, p, c) -> Coefficients:
    """The rows of the sums; small arrays, so automatic differentiation carries the gradient to the parameters."""
    dt = dt.astype(jnp.float32)[:, None]
    w, b, p, c = (x.astype(jnp.complex64) for x in (w, b, p, c))
    beta = lax.stop_gradient(_fit(b, p))
    products = _products(b - beta * p, p, c, dt.shape[0]) * dt[..., None]
    conjugate = jnp.conj(dt * w)
    modulus2, modulus2_low = _modulus2(dt, w)
    return Coefficients(
        a=-2 * jnp.real(products * conjugate[:, None]),
        b=4 * jnp.real(products),
        modulus2=modulus2,
        modulus2_low=modulus2_low,
        real4=4 * jnp.real(conjugate),
        beta=jnp.broadcast_to(beta, dt.shape)[:, 0],
    )


def _fit(b, p) -> jax.Array:
    """The real beta (H, 1) with the smallest `|b - beta p|^2`; 0 where p is 0."""
    norm2 = jnp.sum(jnp.real(p * jnp.conj(p)), -1, keepdims=True)
    return jnp.sum(jnp.real(b * jnp.conj(p)), -1, keepdims=True) / jnp.where(norm2 == 0, 1, norm2)


def _products(b, p, c, heads: int) -> jax.Array:
    """(H, 2 D + 2, M): `b c_d`, `b q`, `p c_d`, `p q`."""
    b, p, q = (jnp.broadcast_to(x, (heads, x.shape[1])) for x in (b, p, jnp.conj(p)))
    return jnp.stack([*(b * c), b * q, *(p * c), p * q], axis=1)


def _modulus2(dt, w) -> tuple[jax.Array, jax.Array]:
    """The precise value, and the gradient of the plain one."""
    plain = jnp.real(dt * w * jnp.conj(dt * w))
    high, low = lax.stop_gradient(double_float.product_modulus2(dt, w))
    return plain + (high - lax.stop_gradient(plain)), low


def factor(nodes: Nodes, modulus2, modulus2_low, real4):
    """Real and imaginary part of F."""
    difference = (modulus2 - nodes.square) + (modulus2_low - nodes.square_low)
    return _complex_reciprocal(difference * nodes.inverse, -real4)


@jax.custom_jvp
def _complex_reciprocal(real, imaginary):
    inverse = 1 / (real * real + imaginary * imaginary)
    return real * inverse, -imaginary * inverse


@_complex_reciprocal.defjvp
def _complex_reciprocal_jvp(primals, tangents):
    """`d(1 / z) = -dz / z^2`, in fewer operations than automatic differentiation takes."""
    real, imaginary = _complex_reciprocal(*primals)
    square_real, square_imaginary = real * real - imaginary * imaginary, 2 * real * imaginary
    tangent_real, tangent_imaginary = tangents
    return (real, imaginary), (
        square_imaginary * tangent_imaginary - square_real * tangent_real,
        -square_imaginary * tangent_real - square_real * tangent_imaginary,
    )
