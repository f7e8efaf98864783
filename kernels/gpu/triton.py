"""The fused kernels in Pallas's Triton backend: NVIDIA GPUs from compute capability 8.0 on.

On a CPU they run in Pallas's interpreter, which is slow and for tests.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pltriton

from diffwave_jax.kernels.complex_pair import PLAIN, Arithmetic
from diffwave_jax.kernels.gpu import cauchy, dplr
from diffwave_jax.kernels.gpu.backend import NodeSums, PallasBackend
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes, triton_block_sizes
from diffwave_jax.kernels.target import interpreted


def _launch(program, name: str, grid: tuple[int, ...], warps: int, out_shape: tuple):
    def run(*operands, arithmetic, interpret):
        def kernel(*references):
            program([pl.program_id(axis) for axis in range(len(grid))], arithmetic, *references)

        parameters = pltriton.CompilerParams(num_warps=warps, num_stages=1)
        return pl.pallas_call(kernel, out_shape, grid=grid, name=name, interpret=interpret, compiler_params=parameters)(
            *operands
        )

    if interpreted():
        return partial(run, arithmetic=PLAIN, interpret=True)
    return partial(run, arithmetic=_ASSEMBLY, interpret=False)


def _node_sums(index, arithmetic, rows, inputs, out, *, sums: NodeSums, sizes: BlockSizes):
    """Arrays (states, nodes): every warp has two states, and loads 16 bytes of nodes a lane for both."""
    chunk, group, head = index
    columns = pl.ds(group * sizes.states, sizes.states)
    shape = sizes.states, sizes.state_nodes
    mine = [jnp.broadcast_to(rows[head, i, columns][:, None], shape) for i in range(rows.shape[1])]
    # Two-dimensional indices: every warp loads the nodes it needs, without an exchange through shared memory.
    lanes = lax.broadcasted_iota(jnp.int32, shape, 1)

    def add_block(i, totals):
        where = (chunk * sizes.chunk + i) * sizes.state_nodes + lanes
        return sums.add(arithmetic, sums.load(head, where, *inputs), mine, totals)

    start = [jnp.zeros(shape, jnp.float32)] * sums.count
    for i, total in enumerate(lax.fori_loop(0, sizes.chunk, add_block, start)):
        out[chunk, head, i, columns] = jnp.sum(total, axis=1)


def _assembly(code: str):
    def operation(*operands):
        operands = jnp.broadcast_arrays(*operands)
        result = jax.ShapeDtypeStruct(operands[0].shape, jnp.float32)
        constraints = ",".join(["=f", *["f"] * len(operands)])
        return pltriton.elementwise_inline_asm(
            code, args=operands, constraints=constraints, pack=1, result_shape_dtypes=[result]
        )[0]

    return operation


# XLA's compiler for GPUs emits no fused multiply-add, and an exact division of many instructions.
_ASSEMBLY = Arithmetic(
    multiply_add=_assembly("fma.rn.f32 $0, $1, $2, $3;"),
    subtract_product=_assembly("{ .reg .f32 minus; neg.f32 minus, $1; fma.rn.f32 $0, minus, $2, $3; }"),
    reciprocal=_assembly("rcp.approx.ftz.f32 $0, $1;"),
)

BACKEND = PallasBackend(_launch, _node_sums, triton_block_sizes)

spectrum = partial(dplr.spectrum, BACKEND)
spectrum_gradient = partial(dplr.spectrum_gradient, BACKEND)
cauchy_sums = partial(cauchy.sums, BACKEND)
cauchy_gradient = partial(cauchy.gradient, BACKEND)
