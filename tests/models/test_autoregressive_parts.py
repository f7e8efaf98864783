"""The layers of the originals' autoregressive networks one by one, where the reference files lie beside the project.

Bounds are shares of the largest value, a few times what float32 rounding gave here (in parentheses).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax.models.backbone import DownPool, S4Block, UpPool
from tests.helpers.autoregressive import TAGS, at_hand, golden_network


def vectors_of(tag: str) -> dict[str, np.ndarray]:
    vectors = at_hand(tag)
    if "block_in" not in vectors:
        pytest.skip("needs the reference files beside the project")
    return vectors


def close(found, expected, bound: float) -> None:
    difference = np.abs(np.asarray(found) - expected)
    assert np.max(difference) < bound * np.max(np.abs(expected))


def channels_first(array: jax.Array) -> np.ndarray:
    return np.swapaxes(np.asarray(array), 1, 2)


@pytest.mark.parametrize("tag", TAGS)
def test_layers(tag):
    """Kernels; norm or S4 layer, whichever the original shows, and whole block; both pools, the upper one delayed."""
    vectors, network = vectors_of(tag), golden_network(tag)
    x = jnp.asarray(np.swapaxes(vectors["block_in"], 1, 2), jnp.float32)
    length = x.shape[1]
    centre = next(block for block in network.center if isinstance(block, S4Block))
    block = [block for block in network.up if isinstance(block, S4Block)][-1]
    down = next(pool for pool in network.down if isinstance(pool, DownPool))
    up = [pool for pool in network.up if isinstance(pool, UpPool)][-1]

    @jax.jit
    def parts(x, pooled):
        filter = block.s4.filter(length)
        inner = block.norm(x) if "norm_out" in vectors else block.s4(x, filter)
        return inner, block(x, filter), down(x), up(pooled)

    close(centre.s4.kernel(length // 16)[0], vectors["center_s4_kernel"], 3e-6)
    close(block.s4.kernel(length)[0], vectors["last_s4_kernel"], 3e-6)
    pooled = jnp.asarray(np.swapaxes(vectors["down_out"], 1, 2), jnp.float32)
    inner, whole, below, above = map(channels_first, parts(x, pooled))
    close(inner, vectors["norm_out" if "norm_out" in vectors else "s4_out"], 3e-6)
    close(whole, vectors["block_out"], 3e-6)
    close(below, vectors["down_out"], 1e-6)
    close(above, vectors["up_out"], 1e-6)


def test_the_recurrence_is_the_originals_matrix():
    """Diagonal plus rank one, brought back to the basis in which the original writes its dense matrix."""
    vectors, network = vectors_of("ar_rf5_tiny"), golden_network("ar_rf5_tiny")
    s4 = [block for block in network.up if isinstance(block, S4Block)][-1].s4
    ssm, constants = s4.kernel.on_host(), s4.recurrence()
    for head in range(2):
        unit = both(ssm.p[0] / (1 - ssm.dt[head] / 2 * ssm.w[0]))  # the states are stored divided by it
        a, b, f, g = (both(part.real[:, head] + 1j * part.imaginary[:, head].astype(float)) for part in constants[:4])
        close(b * unit, vectors["last_dB"][head], 1e-6)
        close(g / 2 / (1 + a) / unit, vectors["last_dC"][head], 1e-6)
        close(np.diag(1 + a) - np.outer(unit, f / 2 / unit), vectors["last_dA"][head], 1e-6)


def both(states: np.ndarray) -> np.ndarray:
    """States, then their conjugates."""
    return np.concatenate([states, states.conj()])
