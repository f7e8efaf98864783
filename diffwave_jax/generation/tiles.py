"""Long clips through a network of limited reach, tile by tile: the same output in bounded memory."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.models.conditioner import Condition

FRAMES = 512  # of a tile, 6 s at 22,050 Hz and a hop of 256
HALOS = 16  # a tile is at least as many halos long, so that little is computed twice
UPSAMPLER_REACH = 2  # frames that an upsampler sees on either side


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How clips are cut.

    Attributes:
      frames: mel frames of a tile.
      halo: those at either end whose output is not to be used.
    """

    frames: int
    halo: int

    @classmethod
    def for_reach(cls, reach: int, hop: int) -> "Tiling":
        """For a network whose outputs depend on `reach` samples on either side."""
        halo = divide_up(reach, hop) + UPSAMPLER_REACH
        return cls(max(FRAMES, HALOS * halo), halo)

    @property
    def core(self) -> int:
        """Frames from one tile to the next."""
        return self.frames - 2 * self.halo


def tiled(
    call: Callable[[jax.Array, Condition], jax.Array],
    x: Float[Array, "batch samples"],
    condition: Condition,
    tiling: Tiling,
    hop: int,
) -> Float[Array, "batch samples"]:
    """`call(x, condition)` for clips (B, L) longer than a tile: as many tiles as the longest clip needs.

    Each tile writes all it has but its first halo; the next one writes over its last halo. The first and the last tile
    end with the clip, so that the network meets its own zeros there.
    """
    total = condition.mel.shape[1]
    frames = jnp.full(len(x), total) if condition.frames is None else condition.frames
    needed = 1 + jnp.maximum(0, -((tiling.frames - tiling.halo - jnp.max(frames)) // tiling.core))

    def one(n, y):
        start = jnp.minimum(n * tiling.core, total - tiling.frames)
        mel = jax.lax.dynamic_slice_in_dim(condition.mel, start, tiling.frames, axis=1)
        own = Condition(mel, jnp.clip(frames - start, 0, tiling.frames))
        part = jax.lax.dynamic_slice_in_dim(x, start * hop, tiling.frames * hop, axis=1)
        before = jax.lax.dynamic_slice_in_dim(y, start * hop, tiling.frames * hop, axis=1)
        exact = jnp.arange(part.shape[1]) >= jnp.where(n == 0, 0, tiling.halo * hop)
        return jax.lax.dynamic_update_slice_in_dim(y, jnp.where(exact, call(part, own), before), start * hop, axis=1)

    most = divide_up(total - tiling.frames, tiling.core) + 1
    return jax.lax.fori_loop(0, jnp.minimum(needed, most), one, jnp.zeros_like(x))
