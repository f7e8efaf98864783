"""The XLA implementation: sums over states, and over nodes, as matrix products, a block of heads at a time.

A block's (heads, states, nodes) factors are never kept and the gradient recomputes them, so memory grows with heads
times nodes only.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from diffwave_jax.kernels import cauchy_math, dplr_math
from diffwave_jax.kernels.coefficients import Coefficients, Nodes, nodes
from diffwave_jax.kernels.complex_pair import Pair
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes
from diffwave_jax.kernels.target import target

# Factors alive at a time: on a CPU a megabyte for each part of F, large enough for products to use all cores; elsewhere
# enough to fill the device.
CPU_BLOCK, DEVICE_BLOCK = 2**18, 2**22

# A TPU multiplies float32 matrices in bfloat16 by default, some GPUs in TensorFloat-32.
_float32 = partial(jax.default_matmul_precision, "highest")


@_float32()
def spectrum(coefficients: Coefficients, length: int, sizes: BlockSizes | None = None) -> jax.Array:
    """(D, H, nodes) complex64; there are no sizes to choose."""
    table = nodes(length)
    size = coefficients.modulus2.shape[1] * table.t.size
    # One array a direction: moving the directions' axis of a single one would take half as long as computing it.
    return jnp.stack(_map(partial(_head_spectrum, table), (coefficients,), size))


@_float32()
def spectrum_gradient(
    coefficients: Coefficients, length: int, gradient: jax.Array, sizes: BlockSizes | None = None
) -> Coefficients:
    """From `dL / d real + i dL / d imaginary` of the spectrum, (D, H, nodes), to dL of the coefficients."""
    table = nodes(length)
    size = coefficients.modulus2.shape[1] * table.t.size
    return _map(partial(_head_gradient, table), (coefficients, tuple(gradient)), size)


@_float32()
def cauchy_sums(rows: jax.Array, z_real: jax.Array, z_imaginary: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part (H, L) of the sums, from the rows (H, 4, M) of `kernels.cauchy_math.Poles`."""
    size = rows.shape[2] * z_real.size
    return _map(lambda head: _head_cauchy(head, z_real, z_imaginary), (rows,), size)


@_float32()
def cauchy_gradient(
    rows: jax.Array, z_real: jax.Array, z_imaginary: jax.Array, to_real: jax.Array, to_imaginary: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The gradient of the rows and of z, from that of the sums."""

    def head_gradient(head, *gradients):
        return jax.vjp(_head_cauchy, head, z_real, z_imaginary)[1](gradients)

    operands = rows, to_real, to_imaginary
    to_rows, to_z_real, to_z_imaginary = _map(head_gradient, operands, rows.shape[2] * z_real.size)
    return to_rows, to_z_real.sum(0), to_z_imaginary.sum(0)


def _head_cauchy(head, z_real, z_imaginary) -> tuple[jax.Array, jax.Array]:
    z, poles = Pair(z_real, z_imaginary), cauchy_math.Poles(*head[:, :, None])
    factor = cauchy_math.factor(z, poles)
    real, imaginary = head[:2] @ factor.real, head[:2] @ factor.imaginary
    total = Pair(real[0], imaginary[0]) + z * Pair(real[1], imaginary[1])
    return total.real, total.imaginary


def _map(function, operands: tuple, size: int):
    """`function` of each of the operands' leading axis, `size` factors each, as many at a time as a block holds.

    Somewhat fewer where that makes equal batches: for what remains after the last whole one all is compiled once more.
    """
    count, block = len(jax.tree.leaves(operands)[0]), CPU_BLOCK if target().platform == "cpu" else DEVICE_BLOCK
    most = max(1, min(count, block // size))
    batch = next((n for n in range(most, most // 2, -1) if count % n == 0), most)
    return lax.map(lambda x: function(*x), operands, batch_size=batch)


def _head_spectrum(table: Nodes, head: Coefficients) -> tuple[jax.Array, ...]:
    """(nodes,) complex64 for each of D directions; a head's `a`, `b` are (2 D + 2, M), `beta` a scalar, others (M,)."""
    sums = _sums(table, head, _factor(table, head))
    return tuple(lax.complex(*k) for k in dplr_math.spectrum(table.t, head.beta, sums))


def _head_gradient(table: Nodes, head: Coefficients, gradient: tuple) -> Coefficients:
    """The gradient of a head's coefficients, from those of its D spectra, (nodes,) complex64 each."""
    factor = _factor(table, head)
    sums = _sums(table, _without_bc(head, len(gradient)), factor)
    to_real, to_imaginary = _sums_gradient(table, head.beta, sums, gradient)
    real4 = head.real4[:, None]
    rows = jnp.inner(factor.real, to_real) + real4 * jnp.inner(factor.imaginary, to_imaginary)
    a, b = jnp.split(rows.T, 2)
    columns = jnp.concatenate([head.a, head.b]).T
    to_factor = Pair(columns @ to_real, columns @ to_imaginary)
    factor = Pair(factor.real, real4 * factor.imaginary)
    minus_modulus2, real4_over_t = dplr_math.factor_gradient(table, factor, to_factor)
    modulus2, square, real4 = -minus_modulus2.sum(-1), -minus_modulus2 @ table.square, real4_over_t @ table.t
    stretch = dplr_math.stretch_gradient(head.b, b, head.real4, real4, square)
    return Coefficients(a, b, modulus2, modulus2, real4, jnp.zeros_like(head.beta), stretch)


def _factor(table: Nodes, head: Coefficients) -> Pair:
    """(M, nodes); without `real4` in the imaginary part, which costs less in the rows."""
    modulus2, modulus2_low, real4 = (x[:, None] for x in (head.modulus2, head.modulus2_low, head.real4))
    return dplr_math.factor_over_real4(table, modulus2, modulus2_low, real4)


def _sums(table: Nodes, head: Coefficients, factor: Pair) -> list[Pair]:
    rows = jnp.concatenate([head.a, head.b])
    a_real, b_real = jnp.split(rows @ factor.real, 2)
    a_imaginary, b_imaginary = jnp.split((rows * head.real4) @ factor.imaginary, 2)
    real, imaginary = table.inverse * a_real - b_imaginary, table.inverse * a_imaginary + b_real
    return [Pair(*x) for x in zip(real, imaginary, strict=True)]


def _sums_gradient(table: Nodes, beta: jax.Array, sums: list[Pair], gradient: tuple) -> tuple[jax.Array, jax.Array]:
    """The gradients of F's two factors, (4 D + 4, nodes) each: one half belongs to `a`, the other to `b`."""
    gradients = dplr_math.spectrum_gradient(table.t, beta, sums, [Pair(jnp.real(x), jnp.imag(x)) for x in gradient])
    real, imaginary = (jnp.stack(x) for x in zip(*gradients, strict=True))
    to_real = jnp.concatenate([table.inverse * real, imaginary])
    return to_real, jnp.concatenate([table.inverse * imaginary, -real])


def _without_bc(head: Coefficients, directions: int) -> Coefficients:
    return head._replace(a=head.a[directions:], b=head.b[directions:])
