"""Sums over one axis as products with ones, which XLA's CPU compiler does several times faster than sums."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Float32


def over_features(x: Float[Array, "*rows features"]) -> Float32[Array, "*rows 1"]:
    """Sums (..., 1) over the last axis of `x` (..., H), float32."""
    return jnp.matmul(x, jnp.ones((x.shape[-1], 1), x.dtype), preferred_element_type=jnp.float32)


def over_rows(x: Float[Array, "*rows features"]) -> Float32[Array, " features"]:
    """Sums (H,) over all axes but the last of `x` (..., H), float32."""
    rows = x.reshape(-1, x.shape[-1])
    return jnp.matmul(jnp.ones((1, len(rows)), x.dtype), rows, preferred_element_type=jnp.float32)[0]
