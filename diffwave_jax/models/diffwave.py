"""DiffWave: a bidirectional dilated-convolution network (Kong et al., arXiv 2009.09761, section 3)."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Real

from diffwave_jax.models import labels, weights
from diffwave_jax.models.compiling import materialized
from diffwave_jax.models.dense import Linear, check_dtype
from diffwave_jax.models.layers import STEP_FEATURES, StepEmbedding, WeightNormConv, WeightNormLinear


@dataclasses.dataclass(frozen=True)
class DiffWaveConfig:
    """DiffWave's size; the defaults are the released model's.

    Attributes:
      channels: residual and skip channels C.
      n_layers: residual blocks.
      dilation_cycle: block n has dilation 2^(n mod dilation_cycle).
      length: samples of a clip; the network itself takes any length.
      n_classes: classes to condition on, 0 for none.
      n_speakers: speakers to condition on besides, 0 for none; a label then says both (`diffwave_jax.models.labels`).
      dtype: what the blocks compute in; weights stay float32.
      remat: recompute the blocks' activations in the backward pass instead of keeping them.
    """

    channels: int = 256
    n_layers: int = 36
    dilation_cycle: int = 12
    length: int = 16000
    n_classes: int = 0
    n_speakers: int = 0
    dtype: str = "float32"
    remat: bool = False

    def __post_init__(self):
        for field in ("channels", "n_layers", "dilation_cycle", "length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        labels.check(self.n_classes, self.n_speakers)
        check_dtype(self.dtype)


class ResidualBlock(nnx.Module):
    """One gated block: step embedding added, dilated convolution, gate, then residual and skip outputs."""

    def __init__(self, channels: int, dilation: int, *, dtype, rngs: nnx.Rngs):
        self.step = Linear(STEP_FEATURES, channels, dtype=dtype, rngs=rngs)
        self.dilated = WeightNormConv(channels, 2 * channels, 3, dilation=dilation, dtype=dtype, rngs=rngs)
        self.residual = WeightNormLinear(channels, channels, dtype=dtype, rngs=rngs)
        self.skip = WeightNormLinear(channels, channels, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: Float[Array, "batch samples channels"], embedding: Float[Array, "batch features"]
    ) -> tuple[Float[Array, "batch samples channels"], Float[Array, "batch samples channels"]]:
        """State (B, L, C) and embedding (B, STEP_FEATURES) to the next state and the skip output, both (B, L, C)."""
        # The released models add the embedding in place, so the residual path carries it too.
        x = x + self.step(embedding)[:, None]
        tanh_half, gate_half = jnp.split(self.dilated(x), 2, axis=-1)
        out = jnp.tanh(tanh_half) * nnx.sigmoid(gate_half)
        return (x + self.residual(out)) * np.sqrt(0.5).astype(x.dtype), self.skip(out)


class DiffWave(nnx.Module):
    """Predicts the noise in a clip.

    Args:
      config: its size.
      rngs: source of the initial values.
    """

    def __init__(self, config: DiffWaveConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        channels = config.channels
        self.config = config
        self.input = WeightNormLinear(1, channels, dtype=dtype, rngs=rngs)
        self.embedding = StepEmbedding(config.n_classes, config.n_speakers, rngs=rngs)
        self.blocks = nnx.List(
            ResidualBlock(channels, 2 ** (n % config.dilation_cycle), dtype=dtype, rngs=rngs)
            for n in range(config.n_layers)
        )
        self.output1 = WeightNormLinear(channels, channels, dtype=dtype, rngs=rngs)
        self.output2 = Linear(channels, 1, init=nnx.initializers.zeros, rngs=rngs)

    def filters(self, length: int | None = None) -> tuple:
        """The empty tuple: DiffWave has no S4 layers. `SaShiMi.filters` is the counterpart."""
        del length
        return ()

    def __call__(
        self,
        x: Float[Array, "batch samples"],
        t: Real[Array, " batch"],
        label: Int[Array, " batch"] | None = None,
        *,
        filters: tuple = (),
    ) -> Float32[Array, "batch samples"]:
        """Predicted noise (B, L) float32 of audio `x` (B, L) at 0-based steps `t` (B,).

        Args:
          x: (B, L) noisy audio.
          t: (B,) diffusion steps.
          label: (B,) see `diffwave_jax.models.labels`, only if the network is conditional; None for no label.
          filters: ignored.
        """
        embedding = self.embedding(t, label)
        block_call = weights.remat(ResidualBlock.__call__) if self.config.remat else ResidualBlock.__call__
        h = nnx.relu(self.input(x[..., None]))
        skips = jnp.zeros_like(h)
        for block in self.blocks:
            h, skip = materialized(block_call(block, h, embedding))
            skips = skips + skip
        skips = skips * np.sqrt(1 / len(self.blocks)).astype(skips.dtype)
        return self.output2(nnx.relu(self.output1(skips)).astype(jnp.float32))[..., 0]
