"""Numbers of twice float32's precision, as unevaluated sums `high + low`.

Dekker 1971, "A floating-point technique for extending the available precision"; nothing here changes when the
compiler fuses a multiplication with an addition.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def split(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A float64 array as two float32 arrays."""
    high = x.astype(np.float32)
    return high, (x - high).astype(np.float32)


def product_modulus2(x: jax.Array, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`|x z|^2` for real x and complex z; float32 pairs."""
    real, real_low = _product_square(x, jnp.real(z))
    imaginary, imaginary_low = _product_square(x, jnp.imag(z))
    return _sum(real, imaginary, real_low + imaginary_low)


def _product_square(x, y):
    """`(x y)^2`: with `x y = high + low`, `high^2 + 2 high low`."""
    high, low = _product(x, y)
    square, square_low = _product(high, high)
    return square, square_low + 2 * high * low


def _product(x, y):
    product = x * y
    x_high, y_high = _upper_half(x), _upper_half(y)
    x_low, y_low = x - x_high, y - y_high
    return product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _upper_half(x):
    """x with 12 bits of its significand, so that products of two such numbers are exact."""
    return lax.bitcast_convert_type(lax.bitcast_convert_type(x, jnp.uint32) & np.uint32(0xFFFFF000), jnp.float32)


def _sum(x, y, low):
    high = x + y
    larger, smaller = jnp.maximum(x, y), jnp.minimum(x, y)
    low = low + (smaller - (high - larger))
    return high + low, low - ((high + low) - high)
