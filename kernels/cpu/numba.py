"""The CPU implementation: loops that Numba compiles, called by XLA, each thread with some of the heads.

XLA's own operations leave a second core next to nothing to do here: there are many and each takes microseconds.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from numba import config

from diffwave_jax.kernels import dplr_math
from diffwave_jax.kernels.coefficients import Coefficients, nodes
from diffwave_jax.kernels.cpu import foreign, loops
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes
from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.kernels.xla import cauchy_gradient, cauchy_sums

__all__ = ["cauchy_gradient", "cauchy_sums", "spectrum", "spectrum_gradient"]

if config.DISABLE_JIT:  # pyright: ignore[reportAttributeAccessIssue]: Numba adds its options
    raise ImportError("Numba's compiler is switched off by NUMBA_DISABLE_JIT: unset it, or use implementation='xla'")

# The types of the kernels' arrays: a, b, poles, beta, table.
COEFFICIENTS = (jnp.float32,) * 5

# Nodes of a tile at most: what a tile needs stays in the nearest caches, and each loop is long enough to be worth
# starting. An odd multiple of LANES, what a vector register holds: rows a power of two apart share a place in a cache.
TILE, LANES = 688, 16

# Factors for which another thread pays.
THREAD = 2**17


def spectrum(coefficients: Coefficients, length: int, sizes: BlockSizes | None = None) -> jax.Array:
    """(D, H, nodes) complex64; there are no sizes to choose."""
    directions = coefficients.a.shape[1] // 2 - 1
    out = jax.ShapeDtypeStruct((directions, len(coefficients.beta), length // 2 + 1), jnp.complex64)
    return _call(_spectrum_target(), out, coefficients, length)


def spectrum_gradient(
    coefficients: Coefficients, length: int, gradient: jax.Array, sizes: BlockSizes | None = None
) -> Coefficients:
    """From `dL / d real + i dL / d imaginary` of the spectrum, (D, H, nodes), to dL of the coefficients."""
    states = coefficients.a.shape[2]
    even = states + states % 2
    heads, rows = coefficients.a.shape[:2]
    shapes = (heads, rows, even), (heads, rows, even), (heads, 3, even)
    out = tuple(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    a, b, poles = (x[..., :states] for x in _call(_gradient_target(), out, coefficients, length, jnp.conj(gradient)))
    modulus2, square, real4 = poles[:, 0], poles[:, 1], poles[:, 2]
    stretch = dplr_math.stretch_gradient(coefficients.b, b, coefficients.real4, real4, square)
    return Coefficients(a, b, modulus2, modulus2, real4, jnp.zeros_like(coefficients.beta), stretch)


@cache
def _spectrum_target() -> str:
    return foreign.register("s4_spectrum", loops.spectrum_part, _threads, COEFFICIENTS, (jnp.complex64,))


@cache
def _gradient_target() -> str:
    arguments = *COEFFICIENTS, jnp.complex64
    return foreign.register("s4_spectrum_gradient", loops.gradient_part, _threads, arguments, (jnp.float32,) * 3)


@cache
def check() -> None:
    """Registers a target with XLA that does nothing: compiling the kernels would take seconds.

    Raises:
      RuntimeError: XLA has another version of the interface than these are written for.
    """
    foreign.register("nothing", _nothing, _nothing, (), ())


def _nothing(address):
    return 0


def _call(name: str, out, coefficients: Coefficients, length: int, *more: jax.Array):
    a, b, modulus2, low, real4, beta, _ = coefficients
    operands = *_even(a, b, jnp.stack([modulus2, low, real4], axis=1)), beta[:, None, None], _table(length), *more
    return jax.ffi.ffi_call(name, out, vmap_method="sequential")(*operands)


def _even(a: jax.Array, b: jax.Array, poles: jax.Array) -> tuple[jax.Array, ...]:
    """The operands with an even number of states: one that contributes nothing is added to an odd number."""
    more = (0, 0), (0, 0), (0, a.shape[2] % 2)
    return jnp.pad(a, more), jnp.pad(b, more), jnp.pad(poles, more, constant_values=1)


def _table(length: int) -> np.ndarray:
    """(tiles, 4, nodes of one): the fields of `Nodes`, the last node repeated to fill the tiles."""
    table = np.stack(nodes(length))
    count = table.shape[1]
    tiles = divide_up(count, TILE)
    size = (divide_up(count, tiles * LANES) | 1) * LANES
    padded = np.pad(table, ((0, 0), (0, tiles * size - count)), mode="edge")
    return np.ascontiguousarray(padded.reshape(4, tiles, size).swapaxes(0, 1))


def _threads(address):
    """The number of threads that pay: one for every THREAD factors, at most one a head."""
    arrays = foreign.words(address, foreign.ARRAYS + 5 * foreign.ARRAY)  # those of COEFFICIENTS
    heads, _, states = loops.shape(arrays, 0)
    tiles, _, size = loops.shape(arrays, 4)
    return max(1, min(heads, heads * states * tiles * size // THREAD))
