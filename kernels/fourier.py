"""Fourier transforms of an array's last axis: XLA's own or, on a TPU, matrix products.

A TPU's compiler takes about ten seconds for each of XLA's transforms of a shape: forward, inverse, real, their
gradients. Products with tables take it about six, once for all of these. A transform of n m samples is made of one of
n, a factor for each number and one of m (the "four-step" algorithm of Bailey 1990, "FFTs in external or hierarchical
memory").
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex64, Float32

from diffwave_jax.kernels.complex_pair import Pair
from diffwave_jax.kernels.target import target

# A TPU multiplies 128 numbers by 128 at a time. Work grows with the factors: larger ones are left to XLA's transforms.
FIRST_FACTOR, SECOND_FACTOR = 512, 128


def fft(x: Complex64[Array, "*signals samples"]) -> Complex64[Array, "*signals samples"]:
    """Discrete Fourier transform of the last axis, as `jax.numpy.fft.fft`.

    On a TPU it has derivatives in reverse mode alone (`jax.grad`, `jax.vjp`), as the two functions below.
    """
    return _products(x) if _by_products(x, x.shape[-1]) else jnp.fft.fft(x)


def ifft(x: Complex64[Array, "*signals samples"]) -> Complex64[Array, "*signals samples"]:
    """The inverse of `fft`."""
    length = x.shape[-1]
    return jnp.conj(_products(jnp.conj(x))) / length if _by_products(x, length) else jnp.fft.ifft(x)


def irfft(x: Complex64[Array, "*signals frequencies"], length: int) -> Float32[Array, "*signals {length}"]:
    """The real signals of `length` samples of which `x` is the transform at the frequencies 0 to `length // 2`."""
    if not _by_products(x, length):
        return jnp.fft.irfft(x, n=length)
    frequencies = np.arange(x.shape[-1])
    alone = (frequencies == 0) | (2 * frequencies == length)  # the others stand for their mirror images too
    weights = np.where(alone, 1, 2).astype(np.float32) / length
    padding = [(0, 0)] * (x.ndim - 1) + [(0, length - len(frequencies))]
    return jnp.real(_products(jnp.pad(jnp.conj(x) * weights, padding)))


def _by_products(x: jax.Array, length: int) -> bool:
    return target().platform == "tpu" and x.dtype == jnp.complex64 and _factors(length)[0] <= FIRST_FACTOR


def _factors(length: int) -> tuple[int, int]:
    second = next(n for n in range(min(length, SECOND_FACTOR), 0, -1) if length % n == 0)
    return length // second, second


@jax.custom_vjp
def _products(x: jax.Array) -> jax.Array:
    """Sample m a + b counts w^(m a c) w^(b c) w^(n b d) times in frequency c + n d, where w = exp(-2 pi i / n m).

    Barriers keep out what is around it: transforms of one shape are then one program for the compiler.
    """
    n, m = _factors(x.shape[-1])
    parts = Pair(*(y.reshape(-1, n, m) for y in jax.lax.optimization_barrier((jnp.real(x), jnp.imag(x)))))
    first = _multiply("ca, sab -> scb", _powers(n, n, n), parts)
    last = _multiply("db, scb -> sdc", _powers(m, m, m), first * _powers(n, m, n * m))
    return jax.lax.complex(*jax.lax.optimization_barrier(tuple(y.reshape(x.shape) for y in last)))


# A transform's table is symmetric, so its gradient is the same transform: nothing more to compile.
_products.defvjp(lambda x: (_products(x), None), lambda _, gradient: (_products(gradient),))


def _powers(rows: int, columns: int, period: int) -> Pair:
    """exp(-2 pi i r c / period) of rows r and columns c, float32."""
    angle = 2 * np.pi / period * (np.outer(np.arange(rows), np.arange(columns)) % period)
    return Pair(np.cos(angle).astype(np.float32), -np.sin(angle).astype(np.float32))


def _multiply(indices: str, table: Pair, x: Pair) -> Pair:
    """Matrix products in full float32."""
    product = partial(jnp.einsum, indices, precision=jax.lax.Precision.HIGHEST)
    return Pair(
        product(table.real, x.real) - product(table.imaginary, x.imaginary),
        product(table.real, x.imaginary) + product(table.imaginary, x.real),
    )
