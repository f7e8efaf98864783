"""What XLA's CPU compiler must be told to compile a deep residual network well.

Where a sum is used twice it would rather evaluate it twice than store it, and a residual network is one long sum: each
layer would evaluate all the sums before it once more, and a gradient's time would grow with the square of the depth.
A barrier after each layer forbids that, but the compiler removes barriers first, unless told to keep them.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
from jax.core import Tracer
from jax.sharding import Mesh

from diffwave_jax.kernels.target import target

Tree = TypeVar("Tree", bound=jax.Array | tuple[jax.Array, ...])


def materialized(x: Tree) -> Tree:
    """`x`, which the compiler is to store; where it does that well by itself, nothing is said."""
    return jax.lax.optimization_barrier(x) if target().platform == "cpu" else x


def compiler_options(mesh: Mesh | None = None) -> dict[str, str | bool]:
    """For the outermost `jax.jit` around a network, or `compile`: those that make `materialized` hold.

    Args:
      mesh: the devices compiled for; None for `kernels.target.target`.
    """
    platform = target().platform if mesh is None else mesh.devices.flat[0].platform
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if platform == "cpu" else {}


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit` with `compiler_options`; inside another `jax.jit`, which alone may have such options, without."""
    nested = jax.jit(function, **options)

    @functools.cache
    def outermost():
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @functools.wraps(function)
    def call(*arguments):
        traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(arguments))
        return (nested if traced else outermost())(*arguments)

    return call
