"""The XLA implementation: sums over states, and over nodes, as matrix products, a block at a time.

A block's (heads, states, nodes) factors are never kept and the gradient recomputes them, so memory grows with heads
times nodes only.
"""

import jax
import jax.numpy as jnp
from jax import lax

from kernels import cauchy_math, dplr_math
from kernels.coefficients import Coefficients, Nodes, nodes
from kernels.complex_pair import Pair
from kernels.target import target

# Factors alive at a time: on a CPU a quarter of a megabyte for each part of F, since ten such arrays should stay in a
# core's cache; elsewhere enough to fill the device.
CPU_BLOCK, DEVICE_BLOCK = 2**18, 2**22


def spectrum(coefficients: Coefficients, length: int, sizes: None = None) -> jax.Array:
    """(D, H, nodes) complex64; there are no sizes to choose."""
    tables, count = _tiles(length, coefficients.modulus2.shape[1])

    def head_spectrum(head):
        parts = lax.map(lambda table: _head_spectrum(table, head), tables)
        return tuple(x.reshape(-1)[:count] for x in parts)

    # One array a direction: moving the directions' axis of a single one would take half as long as computing it.
    return jnp.stack(_map_heads(head_spectrum, coefficients, coefficients.modulus2.shape[1] * tables.t.shape[1]))


def spectrum_gradient(coefficients: Coefficients, length: int, gradient: jax.Array, sizes: None = None) -> Coefficients:
    """From `dL / d real + i dL / d imaginary` of the spectrum, (D, H, nodes), to dL of the coefficients."""
    tables, count = _tiles(length, coefficients.modulus2.shape[1])
    tiles, size = tables.t.shape

    def head_gradient(operands):
        head, columns, gradient = operands
        padded = tuple(jnp.pad(x, (0, tiles * size - count)).reshape(tiles, size) for x in gradient)
        parts = lax.map(lambda tile: _head_gradient(tile[0], head, columns, tile[1]), (tables, padded))
        return jax.tree.map(lambda x: x.sum(0), parts)

    # Transposed here: a transposition next to a product of several heads goes into it and makes it six times slower.
    columns = jnp.swapaxes(jnp.concatenate([coefficients.a, coefficients.b], axis=1), 1, 2)
    return _map_heads(head_gradient, (coefficients, columns, tuple(gradient)), coefficients.modulus2.shape[1] * size)


def _tiles(length: int, states: int) -> tuple[Nodes, int]:
    """The tables (tiles, nodes of one), the last node repeated to fill them, and the number of nodes."""
    table = nodes(length)
    count = table.t.size
    tiles = -(-count // max(1, _block() // states))
    extra = -count % tiles
    return Nodes(*(jnp.pad(x, (0, extra), mode="edge").reshape(tiles, -1) for x in table)), count


def cauchy_sums(rows: jax.Array, z_real: jax.Array, z_imaginary: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part (H, L) of the sums, from the rows (H, 4, M) of `kernels.cauchy_math.Poles`."""
    size = rows.shape[2] * z_real.size
    return _map_heads(lambda head: _head_cauchy(head, z_real, z_imaginary), rows, size)


def cauchy_gradient(rows, z_real, z_imaginary, to_real, to_imaginary) -> tuple:
    """The gradient of the rows and of z, from that of the sums."""

    def head_gradient(operands):
        head, *gradients = operands
        return jax.vjp(_head_cauchy, head, z_real, z_imaginary)[1](tuple(gradients))

    operands = rows, to_real, to_imaginary
    to_rows, *to_z = _map_heads(head_gradient, operands, rows.shape[2] * z_real.size)
    return to_rows, *(x.sum(0) for x in to_z)


def _head_cauchy(head, z_real, z_imaginary) -> tuple[jax.Array, jax.Array]:
    z, poles = Pair(z_real, z_imaginary), cauchy_math.Poles(*head[:, :, None])
    factor = cauchy_math.factor(z, poles)
    real, imaginary = head[:2] @ factor.real, head[:2] @ factor.imaginary
    return tuple(Pair(real[0], imaginary[0]) + z * Pair(real[1], imaginary[1]))


def _map_heads(function, operands, size_of_a_head: int):
    return lax.map(function, operands, batch_size=max(1, _block() // size_of_a_head))


def _block() -> int:
    return CPU_BLOCK if target().platform == "cpu" else DEVICE_BLOCK


def _head_spectrum(table: Nodes, head: Coefficients) -> tuple[jax.Array, ...]:
    """(nodes,) complex64 for each of D directions; a head's `a`, `b` are (2 D + 2, M), `beta` a scalar, others (M,)."""
    sums = _sums(table, head, _factor(table, head))
    return tuple(lax.complex(*k) for k in dplr_math.spectrum(table.t, head.beta, sums))


def _head_gradient(table: Nodes, head: Coefficients, columns: jax.Array, gradient: tuple) -> Coefficients:
    """As `_head_spectrum`; `columns` (M, 4 D + 4) are `a` and `b` once more."""
    factor = _factor(table, head)
    sums = _sums(table, _without_bc(head, len(gradient)), factor)
    gradients = [Pair(jnp.real(x), jnp.imag(x)) for x in gradient]
    to_sums = dplr_math.spectrum_gradient(table.t, head.beta, sums, gradients)
    real, imaginary = (jnp.stack(x) for x in zip(*to_sums, strict=True))
    # The sums are `rows_real @ factor.real + rows_imaginary @ factor.imaginary`, real part and imaginary part.
    to_real = jnp.concatenate([table.inverse * real, imaginary])
    to_imaginary = jnp.concatenate([table.inverse * imaginary, -real])
    # In this order XLA transposes the smaller factors.
    a, b = jnp.split((factor.real @ to_real.T + factor.imaginary @ to_imaginary.T).T, 2)
    to_factor = Pair(columns @ to_real, columns @ to_imaginary)
    minus_modulus2, real4_over_t = dplr_math.factor_gradient(table, factor, to_factor)
    # As products: XLA's reduction over nodes is several times slower on a CPU.
    modulus2, square = -(minus_modulus2 @ jnp.stack([jnp.ones_like(table.t), table.square], axis=1)).T
    real4 = real4_over_t @ table.t
    stretch = dplr_math.stretch_gradient(head.b, b, head.real4, real4, square)
    return Coefficients(a, b, modulus2, modulus2, real4, jnp.zeros_like(head.beta), stretch)


def _factor(table: Nodes, head: Coefficients) -> Pair:
    return dplr_math.factor(table, head.modulus2[:, None], head.modulus2_low[:, None], head.real4[:, None])


def _sums(table: Nodes, head: Coefficients, factor: Pair) -> list[Pair]:
    rows = jnp.concatenate([head.a, head.b])
    (a_real, b_real), (a_imaginary, b_imaginary) = (jnp.split(rows @ x, 2) for x in factor)
    real, imaginary = table.inverse * a_real - b_imaginary, table.inverse * a_imaginary + b_real
    return [Pair(*x) for x in zip(real, imaginary, strict=True)]


def _without_bc(head: Coefficients, directions: int) -> Coefficients:
    return head._replace(a=head.a[directions:], b=head.b[directions:])
