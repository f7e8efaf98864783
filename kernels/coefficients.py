"""What every fast implementation starts from: tables of the nodes, and real float32 coefficients of the states."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from diffwave_jax.kernels import double_float

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
    """What depends on the head and state, float32.

    `a`, `b` (H, 2 D + 2, M) for the products `B C_d`, `B Q`, `P C_d`, `P Q` in this order; `modulus2 +
    modulus2_low` = `|dt w|^2` and `real4` = `4 Re(dt w)`, (H, M); `beta` (H,). `kernels.dplr_math` says what they are
    for. `stretch` (H,) is 1 and would multiply t: dt does no more than that, since `dt sum v / (z - dt w) = sum v / (z
    / dt - w)`, and dt's gradient taken this way does not cancel where z is small.
    """

    a: jax.Array
    b: jax.Array
    modulus2: jax.Array
    modulus2_low: jax.Array
    real4: jax.Array
    beta: jax.Array
    stretch: jax.Array


def nodes(length: int) -> Nodes:
    """The nodes `t = tan(pi l / length)`, l = 0..length // 2, computed in float64."""
    t = np.clip(np.abs(np.tan(np.pi * np.arange(length // 2 + 1) / length)), SMALLEST_T, LARGEST_T)
    return Nodes(t.astype(np.float32), (1 / t).astype(np.float32), *double_float.split(4 * t * t))


def coefficients(dt, w, b, p, c, q) -> Coefficients:
    """From the arguments of `kernels.dplr_spectrum`.

    Small arrays: automatic differentiation carries their gradient to the parameters.
    """
    stretch = (lax.stop_gradient(dt) / dt).astype(jnp.float32)
    dt = lax.stop_gradient(dt).astype(jnp.float32)[:, None]
    w, b, p, c, q = (x.astype(jnp.complex64) for x in (w, b, p, c, q))
    beta = lax.stop_gradient(_fit(b, p))
    products = _products(b - beta * p, p, c, q) * dt[..., None]
    conjugate = jnp.conj(dt * w)
    modulus2, modulus2_low = _modulus2(dt, w)
    return Coefficients(
        a=-2 * jnp.real(products * conjugate[:, None]),
        b=4 * jnp.real(products),
        modulus2=modulus2,
        modulus2_low=modulus2_low,
        real4=4 * jnp.real(conjugate),
        beta=jnp.broadcast_to(beta, dt.shape)[:, 0],
        stretch=stretch,
    )


def _fit(b, p) -> jax.Array:
    """The real beta (H, 1) with the smallest `|b - beta p|^2`; 0 where p is 0."""
    norm2 = jnp.sum(jnp.real(p * jnp.conj(p)), -1, keepdims=True)
    return jnp.sum(jnp.real(b * jnp.conj(p)), -1, keepdims=True) / jnp.where(norm2 == 0, 1, norm2)


def _products(b, p, c, q) -> jax.Array:
    b, p, q = (jnp.broadcast_to(x, c.shape[1:]) for x in (b, p, q))
    return jnp.stack([*(b * c), b * q, *(p * c), p * q], axis=1)


def _modulus2(dt, w) -> tuple[jax.Array, jax.Array]:
    """The precise value, and the gradient of the plain one."""
    plain = jnp.real(dt * w * jnp.conj(dt * w))
    high, low = lax.stop_gradient(double_float.product_modulus2(dt, w))
    return plain + (high - lax.stop_gradient(plain)), low
