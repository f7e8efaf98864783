"""Initial values, drawn on the host: they need no compilation for each shape."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer


def on_host(function: Callable[..., np.ndarray], shape: tuple[int, ...], *arguments: jax.Array) -> jax.Array:
    """`function` of NumPy arrays as a float32 array: initial values need no compilation for each shape."""

    def call(*arrays: jax.Array) -> np.ndarray:
        return np.asarray(function(*(np.asarray(array) for array in arrays)), np.float32)

    if any(isinstance(argument, Tracer) for argument in arguments):
        return jax.pure_callback(call, jax.ShapeDtypeStruct(shape, jnp.float32), *arguments)
    return jnp.asarray(call(*arguments))


def random_on_host(key: jax.Array, shape: tuple[int, ...], draw: Callable[..., np.ndarray], *arguments) -> jax.Array:
    """`draw(NumPy generator, *arguments)` as a float32 array; the generator is seeded by the key."""
    key_data = jax.random.key_data(key)
    return on_host(lambda data, *rest: draw(np.random.default_rng(data), *rest), shape, key_data, *arguments)


def uniform_fan_in(fan_in: int) -> nnx.Initializer:
    """Uniform in ±1/sqrt(fan_in): PyTorch's default for linear and convolutional layers, weight and bias."""
    bound = 1 / np.sqrt(fan_in)

    def init(key, shape, dtype=jnp.float32):
        del dtype  # weights are float32 whatever the layer computes in
        return random_on_host(key, shape, lambda random: random.uniform(-bound, bound, shape))

    return init


def standard_normal(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
    """An `nnx.Initializer`: independent normal values of mean 0 and variance 1."""
    del dtype  # weights are float32 whatever the layer computes in
    return random_on_host(key, shape, lambda random: random.standard_normal(shape))
