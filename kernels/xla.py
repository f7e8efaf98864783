"""The XLA implementation: sums over states, and over nodes, as matrix products, a block at a time.

A block is some heads and some tiles of nodes. Its (heads, tiles, states, nodes of a tile) factors are never kept and
the gradient recomputes them, so memory grows with heads times nodes only.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kernels import cauchy_math, dplr_math
from kernels.coefficients import Coefficients, Nodes, nodes
from kernels.complex_pair import Pair
from kernels.target import target

# Factors alive at a time: on a CPU a megabyte for each part of F, large enough for products to use all cores; elsewhere
# enough to fill the device.
CPU_BLOCK, DEVICE_BLOCK = 2**18, 2**22

# Nodes of a tile on a CPU: their tables stay in a core's nearest cache while it goes through the states.
CPU_TILE = 1024

# Tiles are a multiple of this many nodes, what a vector register holds: odd ones take 7% longer.
LANES = 16


def spectrum(coefficients: Coefficients, length: int, sizes: None = None) -> jax.Array:
    """(D, H, nodes) complex64; there are no sizes to choose."""
    heads, states = coefficients.modulus2.shape
    tables, count = _tiles(length, states)
    tiles, size = tables.t.shape

    def head_spectrum(head):
        return _map(_tile_spectrum, (tables, _repeat(head, tiles)), states * size)

    # One array a direction: moving the directions' axis of a single one would take half as long as computing it.
    directions = _map(head_spectrum, (coefficients,), states * tables.t.size)
    return jnp.stack([x.reshape(heads, -1)[:, :count] for x in directions])


def spectrum_gradient(coefficients: Coefficients, length: int, gradient: jax.Array, sizes: None = None) -> Coefficients:
    """From `dL / d real + i dL / d imaginary` of the spectrum, (D, H, nodes), to dL of the coefficients."""
    states = coefficients.modulus2.shape[1]
    tables, count = _tiles(length, states)
    tiles, size = tables.t.shape

    def head_gradient(head, columns, gradient):
        padded = tuple(jnp.pad(x, (0, tiles * size - count)).reshape(tiles, size) for x in gradient)
        operands = tables, *_repeat((head, columns), tiles), padded
        return jax.tree.map(lambda x: x.sum(0), _map(_tile_gradient, operands, states * size))

    # Transposed here: a transposition next to a product of several heads goes into it and makes it six times slower.
    columns = jnp.swapaxes(jnp.concatenate([coefficients.a, coefficients.b], axis=1), 1, 2)
    return _map(head_gradient, (coefficients, columns, tuple(gradient)), states * tables.t.size)


def _tiles(length: int, states: int) -> tuple[Nodes, int]:
    """The tables (tiles, nodes of one), the last node repeated to fill them, and the number of nodes."""
    table = nodes(length)
    count = table.t.size
    tiles = -(-count // _tile(states))
    size = -(-count // (tiles * LANES)) * LANES
    extra = tiles * size - count
    return Nodes(*(np.pad(x, (0, extra), mode="edge").reshape(tiles, size) for x in table)), count


def _repeat(tree, tiles: int):
    """A copy for each tile: a product of many tiles with the same rows would transpose the tiles first."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (tiles, *x.shape)), tree)


def cauchy_sums(rows: jax.Array, z_real: jax.Array, z_imaginary: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part (H, L) of the sums, from the rows (H, 4, M) of `kernels.cauchy_math.Poles`."""
    size = rows.shape[2] * z_real.size
    return _map(lambda head: _head_cauchy(head, z_real, z_imaginary), (rows,), size)


def cauchy_gradient(rows, z_real, z_imaginary, to_real, to_imaginary) -> tuple:
    """The gradient of the rows and of z, from that of the sums."""

    def head_gradient(head, *gradients):
        return jax.vjp(_head_cauchy, head, z_real, z_imaginary)[1](gradients)

    operands = rows, to_real, to_imaginary
    to_rows, *to_z = _map(head_gradient, operands, rows.shape[2] * z_real.size)
    return to_rows, *(x.sum(0) for x in to_z)


def _head_cauchy(head, z_real, z_imaginary) -> tuple[jax.Array, jax.Array]:
    z, poles = Pair(z_real, z_imaginary), cauchy_math.Poles(*head[:, :, None])
    factor = cauchy_math.factor(z, poles)
    real, imaginary = head[:2] @ factor.real, head[:2] @ factor.imaginary
    return tuple(Pair(real[0], imaginary[0]) + z * Pair(real[1], imaginary[1]))


def _map(function, operands: tuple, size: int):
    """`function` of each of the operands' leading axis, as many at a time as a block holds, `size` factors each."""
    return lax.map(lambda x: function(*x), operands, batch_size=max(1, _block() // size))


def _block() -> int:
    return CPU_BLOCK if target().platform == "cpu" else DEVICE_BLOCK


def _tile(states: int) -> int:
    most = max(1, _block() // states)
    return min(CPU_TILE, most) if target().platform == "cpu" else most


def _tile_spectrum(table: Nodes, head: Coefficients) -> tuple[jax.Array, ...]:
    """(nodes,) complex64 for each of D directions; a head's `a`, `b` are (2 D + 2, M), `beta` a scalar, others (M,)."""
    sums = _sums(table, head, _factor(table, head))
    return tuple(lax.complex(*k) for k in dplr_math.spectrum(table.t, head.beta, sums))


def _tile_gradient(table: Nodes, head: Coefficients, columns: jax.Array, gradient: tuple) -> Coefficients:
    """As `_tile_spectrum`; `columns` (M, 4 D + 4) are `a` and `b` once more."""
    factor = _factor(table, head)
    sums = _sums(table, _without_bc(head, len(gradient)), factor)
    to_real, to_imaginary = _sums_gradient(table, head.beta, sums, gradient)
    real4 = head.real4[:, None]
    rows = jnp.inner(factor.real, to_real) + real4 * jnp.inner(factor.imaginary, to_imaginary)
    a, b = jnp.split(rows.T, 2)
    to_factor = Pair(columns @ to_real, columns @ to_imaginary)
    factor = Pair(factor.real, real4 * factor.imaginary)
    minus_modulus2, real4_over_t = dplr_math.factor_gradient(table, factor, to_factor)
    # As products: XLA's reduction over nodes is several times slower on a CPU.
    modulus2, square = -jnp.inner(minus_modulus2, jnp.stack([jnp.ones_like(table.t), table.square])).T
    real4 = real4_over_t @ table.t
    stretch = dplr_math.stretch_gradient(head.b, b, head.real4, real4, square)
    return Coefficients(a, b, modulus2, modulus2, real4, jnp.zeros_like(head.beta), stretch)


def _factor(table: Nodes, head: Coefficients) -> Pair:
    """(M, nodes); without `real4` in the imaginary part, which costs less in the rows."""
    columns = (x[:, None] for x in (head.modulus2, head.modulus2_low, head.real4))
    return dplr_math.factor_over_real4(table, *columns)


def _sums(table: Nodes, head: Coefficients, factor: Pair) -> list[Pair]:
    rows = jnp.concatenate([head.a, head.b])
    a_real, b_real = jnp.split(rows @ factor.real, 2)
    a_imaginary, b_imaginary = jnp.split((rows * head.real4) @ factor.imaginary, 2)
    real, imaginary = table.inverse * a_real - b_imaginary, table.inverse * a_imaginary + b_real
    return [Pair(*x) for x in zip(real, imaginary, strict=True)]


def _sums_gradient(table: Nodes, beta: jax.Array, sums: list[Pair], gradient: tuple) -> list[jax.Array]:
    """To what F's real and imaginary part are multiplied with, (4 D + 4, nodes): a half each for `a` and `b`."""
    gradients = [Pair(jnp.real(x), jnp.imag(x)) for x in gradient]
    to_b, ratio = dplr_math.factored_spectrum_gradient(table.t, beta, sums, gradients)
    one = Pair(jnp.ones_like(table.t), jnp.zeros_like(table.t))
    ratios = Pair(*(_stack(x)[:, None] for x in zip(one, ratio, strict=True)))
    real, imaginary = ratios * Pair(*(_stack(x) for x in zip(*to_b, strict=True)))
    halves = (table.inverse * real, imaginary), (table.inverse * imaginary, -real)
    return [_stack(x).reshape(-1, table.t.size) for x in halves]


def _stack(arrays: tuple) -> jax.Array:
    """`jnp.stack`; on a CPU by selection, since XLA computes what it concatenates there a number at a time."""
    if target().platform != "cpu":
        return jnp.stack(arrays)
    index = lax.broadcasted_iota(jnp.int32, (len(arrays), *(1 for _ in arrays[0].shape)), 0)
    stacked = arrays[0]
    for i, array in enumerate(arrays[1:], 1):
        stacked = jnp.where(index == i, array, stacked)
    return stacked


def _without_bc(head: Coefficients, directions: int) -> Coefficients:
    return head._replace(a=head.a[directions:], b=head.b[directions:])
