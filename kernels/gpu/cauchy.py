"""The Cauchy sum as fused kernels, for any Pallas backend."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from diffwave_jax.kernels import cauchy_math
from diffwave_jax.kernels.cauchy_math import Poles
from diffwave_jax.kernels.complex_pair import Arithmetic, Pair
from diffwave_jax.kernels.gpu.backend import NodeSums, PallasBackend
from diffwave_jax.kernels.gpu.dplr_programs import zero_like
from diffwave_jax.kernels.rounding import divide_up, round_up


def sums(backend: PallasBackend, rows, z_real, z_imaginary) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part (H, L) of the sums, from the rows (H, 4, M) of `kernels.cauchy_math.Poles`."""
    return _over_states(backend, _add_term, "cauchy_forward", rows, z_real, z_imaginary)


def gradient(backend: PallasBackend, rows, z_real, z_imaginary, to_real, to_imaginary) -> tuple:
    """The gradient of the rows and of z, from that of the sums."""
    real, imaginary = _over_states(backend, _add_derivative, "cauchy_backward_nodes", rows, z_real, z_imaginary)
    to_z = Pair(real, -imaginary) * Pair(to_real, to_imaginary)
    to_rows = _rows_gradient(backend, rows, z_real, z_imaginary, to_real, to_imaginary)
    return to_rows, to_z.real.sum(0), to_z.imaginary.sum(0)


def _over_states(backend, add, name: str, rows, z_real, z_imaginary) -> tuple[jax.Array, jax.Array]:
    heads, _, states = rows.shape
    sizes = backend.block_sizes(heads, states, z_real.size)
    padded = round_up(z_real.size, sizes.nodes)
    part = jax.ShapeDtypeStruct((heads, padded), jnp.float32)
    program = partial(_states_program, add=add, block=sizes.nodes)
    launch = backend.launch(program, name, (padded // sizes.nodes, heads), sizes.warps, (part, part))
    z = [_pad_nodes(x, padded) for x in (z_real, z_imaginary)]
    return tuple(x[:, : z_real.size] for x in launch(rows.swapaxes(1, 2), *z))


def _rows_gradient(backend, rows, z_real, z_imaginary, to_real, to_imaginary) -> jax.Array:
    heads, width, states = rows.shape
    sizes = backend.block_sizes(heads, states, z_real.size)
    chunks = divide_up(z_real.size, sizes.chunk * sizes.state_nodes)
    padded = chunks * sizes.chunk * sizes.state_nodes
    extra = ((0, 0), (0, 0), (0, round_up(states, sizes.states) - states))
    inputs = [_pad_nodes(x, padded) for x in (z_real, z_imaginary)]
    inputs += [jnp.pad(x, ((0, 0), (0, padded - z_real.size))) for x in (to_real, to_imaginary)]
    node_sums = NodeSums("cauchy_backward_states", _load_block, _add_block, width)
    found = backend.sum_over_nodes(node_sums, sizes, chunks, jnp.pad(rows, extra), inputs)[:, :, :states]
    a, b, half_real, imaginary = (found[:, i] for i in range(width))
    return jnp.stack([a, b, 2 * half_real, -2 * rows[:, 3] * imaginary], axis=1)


def _pad_nodes(z, padded: int):
    return jnp.pad(z, (0, padded - z.size), mode="edge")


def _states_program(index, arithmetic: Arithmetic, rows, z_real, z_imaginary, real, imaginary, *, add, block: int):
    where, head = pl.ds(index[0] * block, block), index[1]
    z = Pair(z_real[where], z_imaginary[where])

    def add_state(n, total):
        poles = Poles(*(rows[head, n, i] for i in range(rows.shape[2])))
        return add(arithmetic, z, poles, cauchy_math.factor(z, poles, arithmetic), total)

    zero = zero_like(z.real)
    real[head, where], imaginary[head, where] = lax.fori_loop(0, rows.shape[1], add_state, Pair(zero, zero))


def _add_term(arithmetic, z: Pair, poles: Poles, factor: Pair, total: Pair) -> Pair:
    multiply_add, subtract_product, _ = arithmetic
    above = cauchy_math.numerator(z, poles)
    return Pair(
        subtract_product(above.imaginary, factor.imaginary, multiply_add(above.real, factor.real, total.real)),
        multiply_add(above.imaginary, factor.real, multiply_add(above.real, factor.imaginary, total.imaginary)),
    )


def _add_derivative(arithmetic, z: Pair, poles: Poles, factor: Pair, total: Pair) -> Pair:
    del arithmetic
    return total + cauchy_math.nodes_derivative(z, poles, factor)


def _load_block(head, where, z_real, z_imaginary, to_real, to_imaginary) -> tuple[Pair, Pair]:
    return Pair(z_real[where], z_imaginary[where]), Pair(to_real[head, where], to_imaginary[head, where])


def _add_block(arithmetic, block, rows: list, sums: list) -> list:
    z, gradient = block
    poles = Poles(*rows)
    factor = cauchy_math.factor(z, poles, arithmetic)
    found = cauchy_math.poles_gradient(z, poles, factor, gradient)
    return [total + x for total, x in zip(sums, found, strict=True)]
