"""The fused kernels from the outside: padding, the grids, and what is read and written, for any Pallas backend."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from diffwave_jax.kernels.coefficients import Coefficients, Nodes, nodes
from diffwave_jax.kernels.dplr_math import stretch_gradient
from diffwave_jax.kernels.gpu import dplr_programs as programs
from diffwave_jax.kernels.gpu.backend import NodeSums, PallasBackend
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes
from diffwave_jax.kernels.gpu.dplr_programs import OTHER_ROWS
from diffwave_jax.kernels.rounding import divide_up, round_up


def spectrum(
    backend: PallasBackend, coefficients: Coefficients, length: int, sizes: BlockSizes | None = None
) -> jax.Array:
    """(D, H, nodes) complex64."""
    heads, products, states = coefficients.a.shape
    nodes = length // 2 + 1
    sizes = sizes or backend.block_sizes(heads, states, nodes)
    padded = round_up(nodes, sizes.nodes)
    part = jax.ShapeDtypeStruct((products // 2 - 1, heads, padded), jnp.float32)
    program = partial(programs.forward, block=sizes.nodes)
    launch = backend.launch(program, "dplr_forward", (padded // sizes.nodes, heads), sizes.warps, (part, part))
    rows = _rows(coefficients).swapaxes(1, 2)
    real, imaginary = launch(_tables(length, padded), rows, coefficients.beta)
    return lax.complex(real, imaginary)[:, :, :nodes]


def spectrum_gradient(
    backend: PallasBackend,
    coefficients: Coefficients,
    length: int,
    gradient: jax.Array,
    sizes: BlockSizes | None = None,
) -> Coefficients:
    """From `dL / d real + i dL / d imaginary` of the spectrum, (D, H, nodes), to dL of the coefficients."""
    heads, _, states = coefficients.a.shape
    nodes = length // 2 + 1
    sizes = sizes or backend.block_sizes(heads, states, nodes)
    chunks = divide_up(nodes, sizes.chunk * sizes.state_nodes)
    padded = round_up(chunks * sizes.chunk * sizes.state_nodes, sizes.nodes)
    tables, rows = _tables(length, padded), _rows(coefficients)
    to_sums = _sums_gradient(backend, tables, rows, coefficients.beta, _pad_gradient(gradient, padded), sizes)
    rows = _pad_states(rows, round_up(states, sizes.states))
    node_sums = NodeSums(
        "dplr_backward_states", programs.load_gradient_block, programs.add_gradient_block, rows.shape[1]
    )
    sums = backend.sum_over_nodes(node_sums, sizes, chunks, rows, (tables, *to_sums))
    return _unpack_gradient(coefficients, sums)


def _sums_gradient(backend, tables, rows, beta, gradient, sizes) -> tuple[jax.Array, jax.Array]:
    heads, width, _ = rows.shape
    padded = tables.t.size
    part = jax.ShapeDtypeStruct((heads, (width - OTHER_ROWS) // 2, padded), jnp.float32)
    program = partial(programs.sums_gradient, block=sizes.nodes)
    grid = padded // sizes.nodes, heads
    launch = backend.launch(program, "dplr_backward_sums", grid, sizes.warps, (part, part))
    return launch(tables, rows.swapaxes(1, 2), beta, *gradient)


def _tables(length: int, padded: int) -> Nodes:
    """The tables of the nodes, the last node repeated to `padded` of them."""
    return Nodes(*(np.pad(x, (0, padded - x.size), mode="edge") for x in nodes(length)))


def _rows(coefficients: Coefficients) -> jax.Array:
    """(H, 2 (2 D + 2) + 3, M): `a`, `b` and the other rows of every head."""
    others = coefficients.modulus2, coefficients.modulus2_low, coefficients.real4
    return jnp.concatenate([coefficients.a, coefficients.b, *(x[:, None] for x in others)], axis=1)


def _pad_states(rows: jax.Array, padded: int) -> jax.Array:
    """States up to `padded` of them, whose F is finite and whose products are 0."""
    extra = ((0, 0), (0, 0), (0, padded - rows.shape[2]))
    return jnp.pad(rows, extra).at[:, -OTHER_ROWS, rows.shape[2] :].set(1)


def _pad_gradient(gradient: jax.Array, padded: int) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part (D, H, padded) of a spectrum's gradient."""
    extra = ((0, 0), (0, 0), (0, padded - gradient.shape[2]))
    return jnp.pad(jnp.real(gradient), extra), jnp.pad(jnp.imag(gradient), extra)


def _unpack_gradient(coefficients: Coefficients, sums: jax.Array) -> Coefficients:
    """From the sums over nodes (H, 2 (2 D + 2) + 3, states) in the order of `programs.StateGradient`."""
    products, states = coefficients.a.shape[1:]
    sums = sums[:, :, :states]
    a, b = sums[:, :products], sums[:, products : 2 * products]
    minus_modulus2, real4, minus_square = (sums[:, 2 * products + i] for i in range(OTHER_ROWS))
    stretch = stretch_gradient(coefficients.b, b, coefficients.real4, real4, -minus_square)
    beta = jnp.zeros_like(coefficients.beta)
    return Coefficients(a, b, -minus_modulus2, -minus_modulus2, real4, beta, stretch)
