"""DiffWave: a bidirectional dilated-convolution network (Kong et al., arXiv 2009.09761, section 3)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Real

from diffwave_jax.models import conditioner, gated_blocks, labels, weights
from diffwave_jax.models.compiling import materialized
from diffwave_jax.models.conditioner import Condition, Upsampler, mask
from diffwave_jax.models.dense import Linear, check_dtype
from diffwave_jax.models.layers import (
    STEP_WIDTHS,
    Conv,
    StepEmbedding,
    WeightNormConv,
    WeightNormLinear,
    check_widths,
)


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
      skip_channels: channels of the skip outputs, 0 for as many as residual ones.
      step_widths: of the step embedding's sinusoids, its hidden layer and itself.
      step_table: what the embedding sees of a step: 0 for sinusoids of it, T for a row of lmnt's table of T steps.
      step_in_residual: the residual path carries the step's embedding too, as in the authors' own code.
      weight_norm: weight normalisation of all convolutions.
      n_mels: bands of the mel spectrogram to condition on, 0 for none.
      upsample: factors that bring mel frames to the rate of the audio; their product is the hop.
      shared_upsampler: one upsampler for all blocks instead of one each.
      dtype: what the blocks compute in; weights stay float32.
      remat: recompute the blocks' activations in the backward pass instead of keeping them.
    """

    channels: int = 256
    n_layers: int = 36
    dilation_cycle: int = 12
    length: int = 16000
    n_classes: int = 0
    n_speakers: int = 0
    skip_channels: int = 0
    step_widths: tuple[int, ...] = STEP_WIDTHS
    step_table: int = 0
    step_in_residual: bool = True
    weight_norm: bool = True
    n_mels: int = 0
    upsample: tuple[int, ...] = (16, 16)
    shared_upsampler: bool = False
    dtype: str = "float32"
    remat: bool = False

    def __post_init__(self):
        for field in ("channels", "n_layers", "dilation_cycle", "length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        for field in ("skip_channels", "step_table"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must be at least 0, got {getattr(self, field)}")
        labels.check(self.n_classes, self.n_speakers)
        check_widths(self.step_widths)
        conditioner.check(self.n_mels, self.upsample, self.n_classes)
        check_dtype(self.dtype)

    @property
    def hop(self) -> int:
        """Samples of audio for each mel frame."""
        return int(np.prod(self.upsample))

    @property
    def period(self) -> int:
        """What a clip's length must be a multiple of."""
        return 1

    @property
    def reach(self) -> int:
        """Samples on either side that an output depends on."""
        return sum(2 ** (n % self.dilation_cycle) for n in range(self.n_layers))


class ResidualBlock(nnx.Module):
    """One gated block: step embedding added, dilated convolution, condition added, gate, residual and skip outputs."""

    def __init__(self, config: DiffWaveConfig, dilation: int, *, dtype, rngs: nnx.Rngs):
        conv, linear = _layers(config)
        channels, skip_channels = config.channels, config.skip_channels or config.channels
        self.step = Linear(config.step_widths[-1], channels, dtype=dtype, rngs=rngs)
        self.dilated = conv(channels, 2 * channels, 3, dilation=dilation, dtype=dtype, rngs=rngs)
        if config.n_mels and not config.shared_upsampler:
            self.upsampler = Upsampler(config.upsample, weight_norm=config.weight_norm, dtype=dtype, rngs=rngs)
        if config.n_mels:
            self.condition = linear(config.n_mels, 2 * channels, dtype=dtype, rngs=rngs)
        self.residual = linear(channels, channels, dtype=dtype, rngs=rngs)
        self.skip = linear(channels, skip_channels, dtype=dtype, rngs=rngs)
        self.hop, self.step_in_residual = config.hop, config.step_in_residual

    def __call__(
        self,
        x: Float[Array, "batch samples channels"],
        embedding: Float[Array, "batch features"],
        condition: Condition | None = None,
    ) -> tuple[Float[Array, "batch samples channels"], Float[Array, "batch samples skips"]]:
        """State (B, L, C) and embedding (B, E) to the next state (B, L, C) and the skip output (B, L, S)."""
        h = x + self.step(embedding)[:, None]
        if self.step_in_residual:  # the authors' code adds the embedding in place
            x = h
        gates = self.dilated(h) if condition is None else self._conditioned(h, condition)
        tanh_half, gate_half = jnp.split(gates, 2, axis=-1)
        out = jnp.tanh(tanh_half) * nnx.sigmoid(gate_half)
        return (x + self.residual(out)) * np.sqrt(0.5).astype(x.dtype), self.skip(out)

    def _conditioned(self, h: jax.Array, condition: Condition) -> jax.Array:
        """With silence beyond the end of each clip, a padded clip gives what it gives unpadded."""
        ends = None if condition.frames is None else condition.frames * self.hop
        return self.dilated(mask(h, ends)) + self.conditioned(condition, h.shape[1])

    def conditioned(self, condition: Condition, length: int) -> Float[Array, "batch samples gates"]:
        """What the condition adds to the gates of each of `length` samples, (B, L, 2 C)."""
        return self.condition(self.upsampler(condition, length) if hasattr(self, "upsampler") else condition.mel)


class DiffWave(nnx.Module):
    """Predicts the noise in a clip.

    Args:
      config: its size.
      rngs: source of the initial values.
    """

    def __init__(self, config: DiffWaveConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        _, linear = _layers(config)
        skip_channels = config.skip_channels or config.channels
        self.config = config
        self.input = linear(1, config.channels, dtype=dtype, rngs=rngs)
        self.embedding = StepEmbedding(
            config.n_classes, config.n_speakers, config.step_widths, config.step_table, rngs=rngs
        )
        if config.n_mels and config.shared_upsampler:
            self.upsampler = Upsampler(config.upsample, weight_norm=config.weight_norm, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List(
            ResidualBlock(config, 2 ** (n % config.dilation_cycle), dtype=dtype, rngs=rngs)
            for n in range(config.n_layers)
        )
        self.output1 = linear(skip_channels, skip_channels, dtype=dtype, rngs=rngs)
        self.output2 = Linear(skip_channels, 1, init=nnx.initializers.zeros, rngs=rngs)

    def filters(self, length: int | None = None) -> gated_blocks.Packed:
        """On a CPU with AVX-512 the blocks' weights as its loops take them, one array a block; elsewhere none.

        They do not depend on `length`. `SaShiMi.filters` is the counterpart.
        """
        del length
        return gated_blocks.packed(self.config, self.blocks)

    def condition(self, condition: Condition, length: int) -> Condition:
        """What depends on the mel alone, to be computed once for all steps.

        With one upsampler for all blocks the mel (B, F, M) at the rate of the audio, (B, length, M). Upsamplers of the
        blocks' own cost 1 % of a step, but their outputs 9 kB a sample: they stay in the blocks.
        """
        if not self.config.shared_upsampler:
            return condition
        return condition._replace(mel=self.upsampler(condition, length))

    def __call__(
        self,
        x: Float[Array, "batch samples"],
        t: Real[Array, " batch"],
        label: Int[Array, " batch"] | None = None,
        *,
        filters: gated_blocks.Packed = (),
        condition: Condition | None = None,
    ) -> Float32[Array, "batch samples"]:
        """Predicted noise (B, L) float32 of audio `x` (B, L) at 0-based steps `t` (B,).

        Args:
          x: (B, L) noisy audio.
          t: (B,) diffusion steps.
          label: (B,) see `diffwave_jax.models.labels`, only if the network is conditional; None for no label.
          filters: what `filters()` returned, for a call that is faster on a CPU and has no gradient; () for any other.
          condition: what `condition` made of a mel spectrogram, for a vocoder only.
        """
        conditioner.check_given(self.config.n_mels, condition)
        embedding = self.embedding(t, label)
        h = nnx.relu(self.input(x[..., None]))
        if filters and gated_blocks.pay(self.blocks, h.shape[1]):
            skips = gated_blocks.run(self.blocks, filters, h, embedding, condition)
        else:
            skips = self._skips(h, embedding, condition)
        skips = skips * np.sqrt(1 / len(self.blocks)).astype(skips.dtype)
        return self.output2(nnx.relu(self.output1(skips)).astype(jnp.float32))[..., 0]

    def _skips(self, h: jax.Array, embedding: jax.Array, condition: Condition | None) -> jax.Array:
        """The sum of all blocks' skip outputs, (B, L, S)."""
        block_call = weights.remat(ResidualBlock.__call__) if self.config.remat else ResidualBlock.__call__
        skips = jnp.zeros((*h.shape[:2], self.config.skip_channels or self.config.channels), h.dtype)
        for block in self.blocks:
            h, skip = materialized(block_call(block, h, embedding, condition))
            skips = skips + skip
        return skips


def _layers(config: DiffWaveConfig) -> tuple[type[Conv | WeightNormConv], type[Linear | WeightNormLinear]]:
    """The convolution and the 1x1 convolution that the network is built of."""
    return (WeightNormConv, WeightNormLinear) if config.weight_norm else (Conv, Linear)
