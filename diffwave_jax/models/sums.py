"""Sums over one axis as products with ones, which XLA's CPU compiler does several times faster than sums."""

import jax
import jax.numpy as jnp


def over_features(x: jax.Array) -> jax.Array:
    """Sums (..., 1) over the last axis of `x` (..., H), float32."""
    return jnp.matmul(x, jnp.ones((x.shape[-1], 1), x.dtype), preferred_element_type=jnp.float32)


def over_rows(x: jax.Array) -> jax.Array:
    """Sums (H,) over all axes but the last of `x` (..., H), float32."""
    rows = x.reshape(-1, x.shape[-1])
    return jnp.matmul(jnp.ones((1, len(rows)), x.dtype), rows, preferred_element_type=jnp.float32)[0]
