import pytest

from diffwave_jax.kernels.gpu.block_sizes import MANY_PROGRAMS, mosaic_block_sizes, triton_block_sizes
from diffwave_jax.kernels.rounding import divide_up, round_up


@pytest.mark.parametrize("table", [triton_block_sizes, mosaic_block_sizes])
@pytest.mark.parametrize("heads", [1, 3, 128, 512])
@pytest.mark.parametrize("states", [1, 3, 32, 128])
@pytest.mark.parametrize("nodes", [1, 33, 501, 8001])
def test_blocks_cover_any_shape_without_waste(table, heads, states, nodes):
    sizes = table(heads, states, nodes)
    for size in (sizes.nodes, sizes.warps, sizes.states, sizes.state_nodes, sizes.state_warps):
        assert size & (size - 1) == 0
    assert sizes.states < 2 * states
    chunk = sizes.chunk * sizes.state_nodes
    # Padding is less than one block of nodes in each chunk.
    assert round_up(nodes, chunk) - nodes < max(chunk, sizes.state_nodes * divide_up(nodes, chunk) + sizes.state_nodes)


def test_large_shapes_use_large_blocks_and_enough_programs():
    sizes = triton_block_sizes(128, 32, 8001)
    assert sizes.nodes == 512
    programs = 128 * 2 * divide_up(8001, sizes.chunk * sizes.state_nodes)
    assert programs >= MANY_PROGRAMS * 0.9
    assert triton_block_sizes(1, 32, 501).nodes == 128
