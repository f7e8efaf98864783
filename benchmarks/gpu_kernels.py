"""Our kernels compiled for a card, and how long each should take there.

The prediction counts warp instructions: those of a kernel's loop times its trips, and those outside it, for every warp
of the grid; a multiprocessor's four schedulers issue one each a cycle. That is right where enough warps are ready, and
memory is no bottleneck, which the floor of bytes tells. The floor of arithmetic counts only the float32 operations
that the formulas need; a reciprocal has a unit of its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.gpu_compiler import Card, compile_on, mesh
from benchmarks.gpu_machine_code import Kernel
from benchmarks.gpu_machine_code import kernels as kernels_in
from benchmarks.gpu_work import Shape, moved_bytes, operations
from diffwave_jax import kernels
from diffwave_jax.kernels.backends import Implementation
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes, mosaic_block_sizes, triton_block_sizes
from diffwave_jax.kernels.rounding import divide_up, round_up

TABLES = {"triton": triton_block_sizes, "mosaic": mosaic_block_sizes}
SCHEDULERS = 4
WARP = 32


class Prediction(NamedTuple):
    """Seconds: predicted, and the floors of arithmetic and of bytes."""

    time: float
    arithmetic: float
    memory: float


def value_and_gradient(shape: Shape, implementation: Implementation) -> Callable:
    """A function of dt, w, b, p, c whose compilation holds all three kernels."""

    def function(*parameters):
        spectrum, pull_back = jax.vjp(
            lambda *parameters: kernels.dplr_spectrum(*parameters, length=shape.length, implementation=implementation),
            *parameters,
        )
        return spectrum, pull_back(jnp.conj(spectrum))

    return function


def compile_kernels(card: Card, implementation: Implementation, shape: Shape) -> list[Kernel]:
    """Forward, the gradient to the sums, the gradient to the states."""
    return _kernels(card, value_and_gradient(shape, implementation), shape.arguments(), "dplr_")


def compile_cauchy(card: Card, implementation: Implementation) -> list[Kernel]:
    """The kernels of the bare Cauchy sum for 100 heads, 32 states and 5001 nodes."""
    arguments = [jax.ShapeDtypeStruct(shape, "complex64") for shape in ((100, 32), (5001,), (100, 32))]

    def function(*arguments):
        sums, pull_back = jax.vjp(lambda *x: kernels.cauchy(*x, implementation=implementation), *arguments)
        return sums, pull_back(sums)

    return _kernels(card, function, arguments, "cauchy_")


def _kernels(card, function, arguments, prefix) -> list[Kernel]:
    sharding = NamedSharding(mesh(card), PartitionSpec())
    arguments = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for x in arguments]
    files = compile_on(card, function, *arguments).ptx
    found = sorted((kernel for file in files for kernel in kernels_in(file, prefix)), key=lambda kernel: kernel.name)
    if len(found) != 3:
        raise RuntimeError(f"{card.name}: 3 kernels {prefix}* expected, found {[kernel.name for kernel in found]}")
    return found


def predict(card: Card, implementation: Implementation, shape: Shape, kernel: Kernel) -> Prediction:
    """For one of `compile_kernels`."""
    sizes = TABLES[implementation](shape.heads, shape.states, shape.nodes)
    warps, trips = _work(implementation, shape, sizes, kernel.name)
    instructions = warps * (trips * kernel.loop.total() + kernel.outside.total())
    issued = card.multiprocessors * SCHEDULERS * card.clock
    return Prediction(
        instructions / issued,
        operations(shape, kernel.name) / (issued * WARP),
        moved_bytes(shape, kernel.name) / card.bandwidth,
    )


def _work(implementation: Implementation, shape: Shape, sizes: BlockSizes, name: str) -> tuple[int, int]:
    """Warps of the grid, and trips of each through the loop."""
    if "states" in name:
        groups = divide_up(shape.states, sizes.states)
        chunks = divide_up(shape.nodes, sizes.chunk * sizes.state_nodes)
        return shape.heads * groups * chunks * sizes.state_warps, sizes.chunk
    warps = 4 if implementation == "mosaic" else sizes.warps
    return shape.heads * (round_up(shape.nodes, sizes.nodes) // sizes.nodes) * warps, shape.states
