"""JAX's own settings, which a user may have changed: what is computed here does not depend on them."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def standard_jax() -> Iterator[None]:
    """A block, or with `@standard_jax()` a function, under the settings that the networks and samplers are written for.

    They are float32 throughout, NumPy-like promotion of types, and Threefry random numbers whose bits do not depend on
    how an array is split over devices.
    """
    with (
        jax.enable_x64(False),
        jax.numpy_dtype_promotion("standard"),
        jax.default_prng_impl("threefry2x32"),
        jax.threefry_partitionable(True),
    ):
        yield
