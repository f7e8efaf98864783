"""Both networks against the original's float64 results.

Bounds: the network outputs' are the project's requirement; the parts' are a few times what float32 rounding gave here
(in parentheses), against outputs of order 1.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.golden_vectors import golden, golden_network


def close(found, expected, atol):
    chex.assert_trees_all_close(np.asarray(found, np.float64), expected, atol=atol, rtol=0)


def channels_last(array):
    return jnp.asarray(np.swapaxes(array, 1, 2), jnp.float32)


@pytest.fixture(scope="module")
def vectors():
    return golden("sashimi_tiny")


@pytest.fixture(scope="module")
def network():
    return golden_network("sashimi_tiny")


@pytest.mark.parametrize(("tag", "atol"), [("sashimi_tiny", 5e-5), ("diffwave_tiny", 2e-6)])  # (4.5e-6, 5e-7)
def test_network_output(tag, atol):
    vectors, network = golden(tag), golden_network(tag)
    y = jax.jit(network)(jnp.asarray(vectors["x"]), jnp.asarray(vectors["t"]))
    close(y, vectors["y"], atol)


def test_network_output_with_kernels_given(vectors, network):
    y = jax.jit(network)(jnp.asarray(vectors["x"]), jnp.asarray(vectors["t"]), filters=network.filters())
    close(y, vectors["y"], 5e-5)


def test_s4_kernels(vectors, network):
    close(network.down[0].s4.kernel(1024), vectors["s4_kernel"], 3e-6)  # (3e-7)
    close(network.center[0].s4.kernel(64), vectors["center_s4_kernel"], 3e-6)  # (5e-7)


def test_s4_layer(vectors, network):
    s4 = network.down[0].s4
    y = s4(channels_last(vectors["s4_in"]), s4.filter(1024))
    close(y, np.swapaxes(vectors["s4_out"], 1, 2), 2e-5)  # (5e-6)


def test_s4_block(vectors, network):
    block = network.down[0]
    y = block(channels_last(vectors["s4_in"]), block.s4.filter(1024), jnp.asarray(vectors["block_emb"]))
    close(y, np.swapaxes(vectors["block_out"], 1, 2), 2e-5)  # (5e-6)


def test_down_pool(vectors, network):
    y = network.down[4](channels_last(vectors["s4_in"]))
    close(y, np.swapaxes(vectors["down_out"], 1, 2), 5e-6)  # (1.2e-6)


def test_up_pool(vectors, network):
    y = network.up[5](channels_last(vectors["up_in"]))
    close(y, np.swapaxes(vectors["up_out"], 1, 2), 5e-6)  # (1.4e-6)
