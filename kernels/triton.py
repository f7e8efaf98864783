"""The fused kernels in Pallas's Triton backend: NVIDIA GPUs from compute capability 8.0 on.

On a CPU they run in Pallas's interpreter, which is slow and for tests.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pltriton

from kernels import dplr_math, fused, packing
from kernels.arithmetic import PLAIN, Arithmetic
from kernels.block_sizes import BlockSizes, block_sizes, round_up
from kernels.coefficients import Coefficients, Nodes
from kernels.complex_pair import Pair


def spectrum(coefficients: Coefficients, length: int, sizes: BlockSizes | None = None) -> jax.Array:
    """(D, H, nodes) complex64."""
    heads, products, states = coefficients.a.shape
    nodes = length // 2 + 1
    sizes = sizes or block_sizes(heads, states, nodes)
    padded = round_up(nodes, sizes.nodes)
    part = jax.ShapeDtypeStruct((products // 2 - 1, heads, padded), jnp.float32)
    real, imaginary = _call(
        partial(_forward_kernel, block=sizes.nodes),
        "dplr_forward",
        (padded // sizes.nodes, heads),
        sizes.warps,
        (part, part),
    )(packing.tables(length, padded), packing.rows(coefficients).swapaxes(1, 2), coefficients.beta)
    return lax.complex(real, imaginary)[:, :, :nodes]


def spectrum_gradient(
    coefficients: Coefficients, length: int, gradient: jax.Array, sizes: BlockSizes | None = None
) -> Coefficients:
    """From `dL / d real + i dL / d imaginary` of the spectrum, (D, H, nodes), to dL of the coefficients."""
    heads, products, states = coefficients.a.shape
    sizes = sizes or block_sizes(heads, states, length // 2 + 1)
    padded = round_up(gradient.shape[2], max(sizes.nodes, sizes.chunk * sizes.state_nodes))
    padded = round_up(padded, sizes.nodes)
    tables, rows = packing.tables(length, padded), packing.rows(coefficients)
    part = jax.ShapeDtypeStruct((heads, products, padded), jnp.float32)
    to_sums = _call(
        partial(_sums_gradient_kernel, block=sizes.nodes),
        "dplr_backward_sums",
        (padded // sizes.nodes, heads),
        sizes.warps,
        (part, part),
    )(tables, rows.swapaxes(1, 2), coefficients.beta, *packing.pad_gradient(gradient, padded))
    rows = packing.pad_states(rows, round_up(states, sizes.states))
    chunks = -(-padded // (sizes.chunk * sizes.state_nodes))
    (sums,) = _call(
        partial(_states_gradient_kernel, sizes=sizes),
        "dplr_backward_states",
        (chunks, rows.shape[2] // sizes.states, heads),
        sizes.state_warps,
        (jax.ShapeDtypeStruct((chunks, *rows.shape), jnp.float32),),
    )(tables, rows, *to_sums)
    return packing.unpack_gradient(coefficients, sums.sum(0))


def _call(kernel, name: str, grid: tuple[int, ...], warps: int, out_shape: tuple):
    """A function of trees of arrays, whose leaves are the kernel's references."""

    def compiled(*operands, arithmetic, interpret):
        call = pl.pallas_call(
            partial(kernel, arithmetic=arithmetic),
            out_shape,
            grid=grid,
            name=name,
            interpret=interpret,
            compiler_params=pltriton.CompilerParams(num_warps=warps, num_stages=1),
        )
        return call(*operands)

    return partial(
        lax.platform_dependent,
        cpu=partial(compiled, arithmetic=PLAIN, interpret=True),
        cuda=partial(compiled, arithmetic=ASSEMBLY, interpret=False),
    )


def _forward_kernel(tables, rows, beta, real, imaginary, *, arithmetic, block):
    where, head = pl.ds(pl.program_id(0) * block, block), pl.program_id(1)
    directions = real.shape[0]
    nodes = _load_nodes(tables, where)
    sums = _sums(arithmetic, nodes, rows, head, first=0)
    for d, k in enumerate(dplr_math.spectrum(tables.t[where], beta[head], sums)):
        real[d, head, where], imaginary[d, head, where] = k
    assert len(sums) == 2 * directions + 2


def _sums_gradient_kernel(tables, rows, beta, real, imaginary, to_real, to_imaginary, *, arithmetic, block):
    where, head = pl.ds(pl.program_id(0) * block, block), pl.program_id(1)
    directions = real.shape[0]
    sums = _sums(arithmetic, _load_nodes(tables, where), rows, head, first=directions)
    gradients = [Pair(real[d, head, where], imaginary[d, head, where]) for d in range(directions)]
    for v, g in enumerate(dplr_math.spectrum_gradient(tables.t[where], beta[head], sums, gradients)):
        to_real[head, v, where], to_imaginary[head, v, where] = g


def _load_nodes(tables: Nodes, where) -> fused.NodeBlock:
    return fused.NodeBlock(tables.inverse[where], tables.square[where], tables.square_low[where])


def _sums(arithmetic, nodes, rows, head, first: int) -> list[Pair]:
    """From the first product on."""
    states, width = rows.shape[1:]
    products = (width - packing.OTHER_ROWS) // 2

    def load_state(n):
        state = packing.state([rows[head, n, i] for i in range(width)])
        return state._replace(a=state.a[first:], b=state.b[first:])

    return fused.sums_over_states(arithmetic, nodes, load_state, states, products - first)


def _states_gradient_kernel(tables, rows, to_real, to_imaginary, sums, *, arithmetic, sizes):
    chunk, head = pl.program_id(0), pl.program_id(2)
    columns = pl.ds(pl.program_id(1) * sizes.states, sizes.states)
    shape = sizes.states, sizes.state_nodes
    products = to_real.shape[1]
    state = packing.state([jnp.broadcast_to(rows[head, i, columns][:, None], shape) for i in range(rows.shape[1])])
    # Two-dimensional indices: every warp loads the nodes it needs, without an exchange through shared memory.
    lanes = lax.broadcasted_iota(jnp.int32, shape, 1)

    def add_block(i, total):
        at = (chunk * sizes.chunk + i) * sizes.state_nodes + lanes
        nodes = fused.NodeBlock(tables.inverse[at], tables.square[at], tables.square_low[at], tables.t[at])
        gradient = [Pair(to_real[head, v, at], to_imaginary[head, v, at]) for v in range(products)]
        return fused.add_state_gradient(arithmetic, nodes, state, gradient, total)

    start = fused.StateGradient.zeros(products, shape)
    total = lax.fori_loop(0, sizes.chunk, add_block, start)
    for i, x in enumerate(jax.tree.leaves(total)):
        sums[chunk, head, i, columns] = jnp.sum(x, axis=1)


def _assembly(code: str):
    """XLA's compiler for GPUs emits no fused multiply-add and a slow, exact division by itself."""

    def operation(*operands):
        operands = jnp.broadcast_arrays(*operands)
        result = jax.ShapeDtypeStruct(operands[0].shape, jnp.float32)
        constraints = ",".join(["=f", *["f"] * len(operands)])
        return pltriton.elementwise_inline_asm(
            code, args=operands, constraints=constraints, pack=1, result_shape_dtypes=[result]
        )[0]

    return operation


ASSEMBLY = Arithmetic(
    multiply_add=_assembly("fma.rn.f32 $0, $1, $2, $3;"),
    subtract_product=_assembly("{ .reg .f32 minus; neg.f32 minus, $1; fma.rn.f32 $0, minus, $2, $3; }"),
    reciprocal=_assembly("rcp.approx.ftz.f32 $0, $1;"),
)
