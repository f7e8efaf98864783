"""DiffWave's residual blocks by the CPU's own loops, `kernels.cpu.gated_block`: float32, without gradients."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffwave_jax.kernels.backends import choose
from diffwave_jax.models.compiling import materialized
from diffwave_jax.models.conditioner import Condition
from diffwave_jax.models.dense import Linear
from diffwave_jax.models.layers import Conv, WeightNormConv, WeightNormLinear, weight_norm

if TYPE_CHECKING:
    from diffwave_jax.models.diffwave import DiffWaveConfig, ResidualBlock

ROOT_HALF = np.float32(0.5**0.5)

# The panels that each block's loops read: its weights, ready for minimal filtering.
Packed = tuple[Float[Array, "panels channels columns"], ...]


def packed(config: "DiffWaveConfig", blocks: Sequence["ResidualBlock"]) -> Packed:
    """What `run` multiplies with, one array a block; the empty tuple where this device or these sizes have no loops."""
    if config.dtype != "float32" or choose(None) != "numba":
        return ()
    from diffwave_jax.kernels.cpu import gated_block  # Numba is on some machines only

    if not gated_block.fits(config.channels, config.skip_channels or config.channels):
        return ()
    return tuple(gated_block.pack(_kernel(block.dilated), _outward(block)) for block in blocks)


def pay(blocks: Sequence["ResidualBlock"], length: int) -> bool:
    """Whether the loops are faster than XLA's convolutions for clips of this length."""
    from diffwave_jax.kernels.cpu import gated_block

    return gated_block.pays(length, [block.dilated.dilation for block in blocks])


def run(
    blocks: Sequence["ResidualBlock"],
    panels: Packed,
    h: Float[Array, "batch samples channels"],
    embedding: Float[Array, "batch features"],
    condition: Condition | None,
) -> Float[Array, "batch samples skips"]:
    """The sum of all blocks' skip outputs (B, L, S), from the first one's input (B, L, C) and embedding (B, E).

    A block adds the step's embedding to its input. Here the one before adds it, so that it costs no pass over memory.
    """
    from diffwave_jax.kernels.cpu import gated_block

    steps = [block.step(embedding)[:, None] for block in blocks]
    h = h + steps[0]
    skips = jnp.zeros((*h.shape[:2], blocks[0].skip.bias.shape[0]), h.dtype)
    for block, panel, step, following in zip(blocks, panels, steps, [*steps[1:], 0 * steps[0]], strict=True):
        residual = block.residual.bias[...] - (0 if block.step_in_residual else step)
        skip = jnp.broadcast_to(block.skip.bias[...], (*step.shape[:2], skips.shape[-1]))
        shift = jnp.concatenate([ROOT_HALF * residual + following, skip], axis=-1)
        bias, ends = _bias(block, h, condition)
        h, skips = gated_block.block(h, skips, panel, bias, shift, ends, block.dilated.dilation)
        if condition is not None:  # the next block's bias after this block: all of them at once need 15 kB a sample
            h, mel = materialized((h, condition.mel))
            condition = condition._replace(mel=mel)
    return skips


def _bias(block: "ResidualBlock", h: jax.Array, condition: Condition | None) -> tuple[jax.Array, jax.Array]:
    """What is added to the gates, (B, L, 2 C) or (B, 1, 2 C), and the samples of each clip (B,)."""
    bias, whole = block.dilated.bias[...], jnp.full(len(h), h.shape[1])
    if condition is None:
        return jnp.broadcast_to(bias, (len(h), 1, len(bias))), whole
    ends = whole if condition.frames is None else condition.frames * block.hop
    return bias + block.conditioned(condition, h.shape[1]), ends


def _outward(block: "ResidualBlock") -> jax.Array:
    return jnp.concatenate([_kernel(block.residual), _kernel(block.skip)], axis=-1)


def _kernel(layer: Conv | Linear | WeightNormConv | WeightNormLinear) -> jax.Array:
    if isinstance(layer, WeightNormConv | WeightNormLinear):
        return weight_norm(layer.v[...], layer.g[...])
    return layer.kernel[...]
