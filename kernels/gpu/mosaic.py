"""The fused kernels in Pallas's Mosaic GPU backend: NVIDIA GPUs from compute capability 9.0 on.

A program is one warpgroup of 128 threads. On a CPU they run in Pallas's interpreter, which is slow and for tests.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.mosaic.gpu import FragmentedArray
from jax.experimental.pallas import mosaic_gpu as plmosaic

from diffwave_jax.kernels.complex_pair import PLAIN
from diffwave_jax.kernels.gpu import cauchy, dplr
from diffwave_jax.kernels.gpu.backend import NodeSums, PallasBackend
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes, mosaic_block_sizes
from diffwave_jax.kernels.gpu.dplr_programs import zero_like
from diffwave_jax.kernels.target import interpreted

THREADS = 128


def _launch(program, name: str, grid: tuple[int, ...], warps: int, out_shape: tuple):
    del warps
    axes = tuple(f"axis{i}" for i in range(len(grid)))

    def run(*operands, arithmetic, interpret):
        leaves, tree = jax.tree.flatten(operands)

        def kernel(*references):
            inputs = references[: len(leaves)] if interpreted() else map(_Vectors, references[: len(leaves)])
            inputs = jax.tree.unflatten(tree, inputs)
            program([lax.axis_index(axis) for axis in axes], arithmetic, *inputs, *references[len(leaves) :])

        # No program reads what it writes, so no barriers are needed between loads and stores.
        parameters = plmosaic.CompilerParams(unsafe_no_auto_barriers=True)
        return plmosaic.kernel(
            kernel,
            out_type=out_shape,
            grid=grid,
            grid_names=axes,
            kernel_name=name,
            compiler_params=parameters,
            interpret=interpret,
        )(*leaves)

    if interpreted():
        return partial(run, arithmetic=PLAIN, interpret=_interpreter())
    return partial(run, arithmetic=_ARITHMETIC, interpret=None)


def _interpreter():
    """Has no public name in jax 0.10; it fills memory with NaN first and refuses indices out of bounds."""
    from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams

    return InterpretGPUParams()


class _Vectors:
    """A reference read 16 bytes at a time, which makes the stores of what is computed from it as wide."""

    def __init__(self, reference):
        self.reference, self.shape = reference, reference.shape

    def __getitem__(self, index):
        index = index if isinstance(index, tuple) else (index,)
        if not isinstance(index[-1], pl.Slice):
            return self.reference[index]
        return plmosaic.load(self.reference, index, layout=_layout(int(index[-1].size)))


def _layout(nodes: int):
    return plmosaic.Layout.WG_STRIDED((nodes,), vec_size=min(4, nodes // THREADS))


def _node_sums(index, arithmetic, rows, inputs, out, *, sums: NodeSums, sizes: BlockSizes):
    """Arrays (nodes,), a few states side by side: every thread loads its nodes once for all of them."""
    chunk, group, head = index
    mine = [group * sizes.states + i for i in range(sizes.states)]
    states = [[rows[head, i, n] for i in range(rows.shape[1])] for n in mine]

    def load(i):
        where = pl.ds((chunk * sizes.chunk + i) * sizes.state_nodes, sizes.state_nodes)
        return sums.load(head, where, *inputs)

    def add_block(i, totals):
        block = load(i)
        return [sums.add(arithmetic, block, state, total) for state, total in zip(states, totals, strict=True)]

    zero = zero_like(jax.tree.leaves(load(0))[0])
    start = [[zero] * sums.count] * sizes.states
    for n, totals in zip(mine, lax.fori_loop(0, sizes.chunk, add_block, start), strict=True):
        for i, total in enumerate(totals):
            out[chunk, head, i, n] = jnp.sum(total)


def _reciprocal(x):
    """One instruction where Mosaic's division takes eight."""
    layout = _layout(x.shape[0])
    result = plmosaic.ShapeDtypeStruct(x.shape, jnp.float32, layout=layout)

    @plmosaic.inline_mgpu(arg_types=(layout,), return_type=result)
    def reciprocal(_, x: FragmentedArray) -> FragmentedArray:
        return x._pointwise(x._lift_fast_instr("rcp.approx.ftz.f32"))

    return reciprocal(x)  # pyright: ignore[reportCallIssue]: jax gives the context


# Mosaic's compiler fuses multiplications and additions by itself.
_ARITHMETIC = PLAIN._replace(reciprocal=_reciprocal)

BACKEND = PallasBackend(_launch, _node_sums, mosaic_block_sizes)

spectrum = partial(dplr.spectrum, BACKEND)
spectrum_gradient = partial(dplr.spectrum_gradient, BACKEND)
cauchy_sums = partial(cauchy.sums, BACKEND)
cauchy_gradient = partial(cauchy.gradient, BACKEND)
