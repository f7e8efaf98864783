"""How the GPU kernels divide their work.

The reasons, counted in machine code compiled for H100 (`python -m benchmarks.gpu_prediction`):

- A state's 15 coefficients are scalars that every thread loads, so a thread does best with many nodes: 8 of them take
  37 instructions a node and state, 4 take 40, and 8 still fit in 170 registers. With few heads and nodes smaller blocks
  keep the card's 132 multiprocessors busy instead.
- The gradient to the states keeps 15 sums for each of its (state, node) pairs. A thread with 2 states and 4 nodes
  loads 4 nodes' gradients, 16 bytes at a time, once for 2 states, and just fits in 255 registers.
- A program of that kernel goes through as many nodes as it can while there are programs for four rounds of the card,
  because what it writes at the end costs as much as a block of nodes.
"""

from typing import NamedTuple

from diffwave_jax.kernels.rounding import divide_up, next_power_of_2

# Four programs for each of an H100's 132 multiprocessors.
MANY_PROGRAMS = 528


class BlockSizes(NamedTuple):
    """Powers of two, but for `chunk`.

    `nodes`, `warps`: of a program of the forward kernel and of the sums' gradient. `states`, `state_nodes`,
    `state_warps`, `chunk`: of a program of the states' gradient, which takes `chunk` blocks of `state_nodes` nodes.
    """

    nodes: int
    warps: int
    states: int
    state_nodes: int
    state_warps: int
    chunk: int


def triton_block_sizes(heads: int, states: int, nodes: int) -> BlockSizes:
    """For a shape: heads, stored states M, nodes `length // 2 + 1`."""
    rows = min(16, next_power_of_2(states))
    return BlockSizes(
        nodes=_largest_block((512, 256, 128), heads, nodes),
        warps=2,
        states=rows,
        state_nodes=128,
        state_warps=max(1, rows // 2),
        chunk=_chunk(heads * divide_up(states, rows), divide_up(nodes, 128)),
    )


def mosaic_block_sizes(heads: int, states: int, nodes: int) -> BlockSizes:
    """For a shape as in `triton_block_sizes`, in Mosaic GPU, where a program always has 4 warps."""
    rows = min(4, next_power_of_2(states))
    return BlockSizes(
        nodes=_largest_block((1024, 512, 256, 128), heads, nodes),
        warps=4,
        states=rows,
        state_nodes=128,
        state_warps=4,
        chunk=_chunk(heads * divide_up(states, rows), divide_up(nodes, 128)),
    )


def _largest_block(choices: tuple[int, ...], heads: int, nodes: int) -> int:
    return next((x for x in choices if heads * nodes >= MANY_PROGRAMS * x), choices[-1])


def _chunk(programs: int, blocks: int) -> int:
    """Blocks of nodes a program takes, where `programs` would take all of them."""
    splits = min(blocks, divide_up(MANY_PROGRAMS, programs))
    return divide_up(blocks, splits)
