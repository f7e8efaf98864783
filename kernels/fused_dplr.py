"""The fused kernels from the outside: padding, the grids, and what is read and written, for any Pallas backend."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from kernels import packing, programs
from kernels.backend import Backend, NodeSums
from kernels.block_sizes import BlockSizes, round_up
from kernels.coefficients import Coefficients


def spectrum(backend: Backend, coefficients: Coefficients, length: int, sizes: BlockSizes | None = None) -> jax.Array:
    """(D, H, nodes) complex64."""
    heads, products, states = coefficients.a.shape
    nodes = length // 2 + 1
    sizes = sizes or backend.block_sizes(heads, states, nodes)
    padded = round_up(nodes, sizes.nodes)
    part = jax.ShapeDtypeStruct((products // 2 - 1, heads, padded), jnp.float32)
    program = partial(programs.forward, block=sizes.nodes)
    launch = backend.launch(program, "dplr_forward", (padded // sizes.nodes, heads), sizes.warps, (part, part))
    rows = packing.rows(coefficients).swapaxes(1, 2)
    real, imaginary = launch(packing.tables(length, padded), rows, coefficients.beta)
    return lax.complex(real, imaginary)[:, :, :nodes]


def spectrum_gradient(
    backend: Backend, coefficients: Coefficients, length: int, gradient: jax.Array, sizes: BlockSizes | None = None
) -> Coefficients:
    """From `dL / d real + i dL / d imaginary` of the spectrum, (D, H, nodes), to dL of the coefficients."""
    heads, _, states = coefficients.a.shape
    nodes = length // 2 + 1
    sizes = sizes or backend.block_sizes(heads, states, nodes)
    chunks = -(-nodes // (sizes.chunk * sizes.state_nodes))
    padded = round_up(chunks * sizes.chunk * sizes.state_nodes, sizes.nodes)
    tables, rows = packing.tables(length, padded), packing.rows(coefficients)
    to_sums = _sums_gradient(backend, tables, rows, coefficients.beta, packing.pad_gradient(gradient, padded), sizes)
    rows = packing.pad_states(rows, round_up(states, sizes.states))
    node_sums = NodeSums(
        "dplr_backward_states", programs.load_gradient_block, programs.add_gradient_block, rows.shape[1]
    )
    sums = backend.sum_over_nodes(node_sums, sizes, chunks, rows, (tables, *to_sums))
    return packing.unpack_gradient(coefficients, sums)


def _sums_gradient(backend, tables, rows, beta, gradient, sizes) -> tuple[jax.Array, jax.Array]:
    heads, width, _ = rows.shape
    padded = tables.t.size
    part = jax.ShapeDtypeStruct((heads, (width - packing.OTHER_ROWS) // 2, padded), jnp.float32)
    program = partial(programs.sums_gradient, block=sizes.nodes)
    grid = padded // sizes.nodes, heads
    launch = backend.launch(program, "dplr_backward_sums", grid, sizes.warps, (part, part))
    return launch(tables, rows.swapaxes(1, 2), beta, *gradient)
