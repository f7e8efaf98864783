"""The arithmetic that every fast implementation shares, in real numbers only.

With `theta = 2 pi l / length` and `t = tan(theta / 2)` the bilinear transform's node is `z = 2 i t`, and for a
product `v = u_n v_n` and the scaled eigenvalue `dt w` a conjugate pair's term of the Cauchy sum is

    (a + i t b) / (|dt w|^2 - 4 t^2 - 4 i t Re(dt w)),    a = -2 dt Re(v conj(dt w)),   b = 4 dt Re(v).

All products share the denominators. They are, in this order, `B C_d`, `B Q`, `P C_d`, `P Q` with Q = conj(P), and
the spectrum is `K_d = (1 + i t) (R_BCd - R_BQ R_PCd / (1 + R_PQ))` (Woodbury's correction).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Stands for t = infinity at the Nyquist node: large enough that the error there is below float32's, small enough
# that t^4 stays in float32's range.
LARGEST_NODE = 1e7


class Coefficients(NamedTuple):
    """What the sums over states need, float32: `a`, `b` (H, 2 D + 2, M); `modulus2`, `real4` (H, M); `stretch` (H,).

    `stretch` is 1 and multiplies t in the sums: `r(z) = sum v / (z / dt - w)` depends on dt only by stretching the
    nodes, and the gradient taken this way is free of the cancellation, a thousandfold, of that through the others.
    """

    a: jax.Array
    b: jax.Array
    modulus2: jax.Array
    real4: jax.Array
    stretch: jax.Array


def nodes(length: int) -> np.ndarray:
    """`tan(pi l / length)`, l = 0..length // 2, computed in float64; float32."""
    angles = np.pi * np.arange(length // 2 + 1) / length
    return np.minimum(np.abs(np.tan(angles)), LARGEST_NODE).astype(np.float32)


def coefficients(dt, w, b, p, c) -> Coefficients:
    """The rows of the sums; small arrays, so automatic differentiation carries the gradient to the parameters."""
    w, b, p, c = (x.astype(jnp.complex64) for x in (w, b, p, c))
    stretch = lax.stop_gradient(dt) / dt
    dt = lax.stop_gradient(dt).astype(jnp.float32)[:, None]
    w = dt * w
    b, p = jnp.broadcast_to(b, w.shape), jnp.broadcast_to(p, w.shape)
    q = jnp.conj(p)
    products = dt[..., None] * jnp.stack([*(b * c), b * q, *(p * c), p * q], axis=1)
    conjugate = jnp.conj(w)
    return Coefficients(
        a=-2 * jnp.real(products * conjugate[:, None]),
        b=4 * jnp.real(products),
        modulus2=jnp.real(w * conjugate),
        real4=4 * jnp.real(w),
        stretch=stretch.astype(jnp.float32),
    )


def reciprocals(t, modulus2, real4):
    """Real and imaginary part of `1 / (modulus2 - 4 t^2 - i t real4)`."""
    return _complex_reciprocal(modulus2 - 4 * t * t, -t * real4)


@jax.custom_jvp
def _complex_reciprocal(real, imaginary):
    inverse = 1 / (real * real + imaginary * imaginary)
    return real * inverse, -imaginary * inverse


@_complex_reciprocal.defjvp
def _complex_reciprocal_jvp(primals, tangents):
    """`-f^2` times the tangent, where automatic differentiation of `1 / x` would underflow at the Nyquist node."""
    real, imaginary = _complex_reciprocal(*primals)
    square_real, square_imaginary = real * real - imaginary * imaginary, 2 * real * imaginary
    tangent_real, tangent_imaginary = tangents
    return (real, imaginary), (
        square_imaginary * tangent_imaginary - square_real * tangent_real,
        -square_imaginary * tangent_real - square_real * tangent_imaginary,
    )
