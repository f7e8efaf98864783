"""SaShiMi as a diffusion network (Goel et al., arXiv 2202.09729)."""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Real

from diffwave_jax.models import conditioner, labels
from diffwave_jax.models.backbone import Backbone, BackboneConfig, Variant
from diffwave_jax.models.compiling import materialized
from diffwave_jax.models.conditioner import Condition
from diffwave_jax.models.dense import LayerNorm, Linear, ScalarNorm
from diffwave_jax.models.layers import STEP_WIDTHS, StepEmbedding, WeightNormLinear, check_widths, gelu
from diffwave_jax.models.s4 import Filters


@dataclasses.dataclass(frozen=True)
class SaShiMiConfig(BackboneConfig):
    """The size of a diffusion SaShiMi; the defaults, with those of `BackboneConfig`, are the released models'.

    Attributes:
      output_taps: samples that a convolution at the full rate spans after the last stage, odd; 0 for no convolution.
      n_classes: classes to condition on, 0 for none.
      n_speakers: speakers to condition on besides, 0 for none; a label then says both (`diffwave_jax.models.labels`).
      version: 1 for the first published models; 2 for the authors' later code: one scale and shift a norm, weight norm
        in the feed-forward blocks, skips round pairs of blocks, and clips longer than `l_max`, which vocoders of both
        versions take.
      step_widths: of the step embedding's sinusoids, its hidden layer and itself.
      n_mels: bands of the mel spectrogram to condition on, 0 for none.
      upsample: factors that bring mel frames to the rate of the audio; their product is the hop.
      crop_condition: stages of lower rates hear the first samples of the upsampled mel, as in the authors' models, not
        every so manieth.
    """

    output_taps: int = 0
    n_classes: int = 0
    n_speakers: int = 0
    version: int = 1
    step_widths: tuple[int, ...] = STEP_WIDTHS
    n_mels: int = 0
    upsample: tuple[int, ...] = (16, 16)
    crop_condition: bool = False

    def __post_init__(self):
        super().__post_init__()
        labels.check(self.n_classes, self.n_speakers)
        if self.output_taps and self.output_taps % 2 != 1:
            raise ValueError(f"output_taps must be odd, or 0 for none, got {self.output_taps}")
        if self.version not in (1, 2):
            raise ValueError(f"version must be 1 or 2, got {self.version}")
        check_widths(self.step_widths)
        conditioner.check(self.n_mels, self.upsample, self.n_classes)
        if self.n_mels and self.hop % self.period:
            raise ValueError(f"a mel frame lasts {self.hop} samples (upsample), no multiple of {self.period} (pool)")

    @property
    def variant(self) -> Variant:
        """Every S4 block listens to the diffusion step, and to a mel spectrogram if there is one."""
        second = self.version == 2
        return Variant(
            step_features=self.step_widths[-1],
            norm=ScalarNorm if second else LayerNorm,
            ff_linear=WeightNormLinear if second else Linear,
            pair_skips=second,
            long_clips=second or self.n_mels > 0,
            n_mels=self.n_mels,
            upsample=self.upsample,
            crop_condition=self.crop_condition,
        )

    @property
    def hop(self) -> int:
        """Samples of audio for each mel frame."""
        return self.variant.hop


class ConvolutionBlock(nnx.Module):
    """`x + Convolution(gelu(LayerNorm(x)))`, at first `x` itself: the convolution starts at zero.

    Past the last `UpPool` other layers work sample by sample: what differs between the samples of a group would stay,
    a tone at the rate of the groups.
    """

    def __init__(self, d_model: int, taps: int, config: SaShiMiConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        self.norm = LayerNorm(d_model, dtype=dtype, rngs=rngs)
        zeros = nnx.initializers.zeros
        self.convolution = nnx.Conv(d_model, d_model, (taps,), kernel_init=zeros, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch samples channels"]) -> Float[Array, "batch samples channels"]:
        """(B, L, H) to (B, L, H)."""
        return x + self.convolution(gelu(self.norm(x)))


class SaShiMi(Backbone):
    """Predicts the noise in a clip.

    Args:
      config: its size.
      rngs: source of the initial values.
    """

    config: SaShiMiConfig

    def __init__(self, config: SaShiMiConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        self.input = WeightNormLinear(1, config.d_model, dtype=dtype, rngs=rngs)
        self.embedding = StepEmbedding(config.n_classes, config.n_speakers, config.step_widths, rngs=rngs)
        super().__init__(config, rngs=rngs)
        self.norm = config.variant.norm(config.d_model, dtype=dtype, rngs=rngs)
        self.output1 = WeightNormLinear(config.d_model, config.d_model, dtype=dtype, rngs=rngs)
        self.output2 = Linear(config.d_model, 1, init=nnx.initializers.zeros, rngs=rngs)
        self._n_mels = config.n_mels
        taps = [config.output_taps] if config.output_taps else []
        self.last = nnx.List(ConvolutionBlock(config.d_model, span, config, rngs=rngs) for span in taps)

    def condition(self, condition: Condition, length: int) -> Condition:
        """The condition as it is: each block has an upsampler of its own, see `DiffWave.condition`."""
        del length
        return condition

    def __call__(
        self,
        x: Float[Array, "batch samples"],
        t: Real[Array, " batch"],
        label: Int[Array, " batch"] | None = None,
        *,
        filters: Filters | None = None,
        condition: Condition | None = None,
    ) -> Float32[Array, "batch samples"]:
        """Predicted noise (B, L) float32 of audio `x` (B, L) at 0-based steps `t` (B,).

        Args:
          x: (B, L) noisy audio, L a multiple of the product of `pool`.
          t: (B,) diffusion steps.
          label: (B,) see `diffwave_jax.models.labels`, only if the network is conditional; None for no label.
          filters: what `filters(L)` returned; None computes them here.
          condition: what `condition` made of a mel spectrogram, for a vocoder only.
        """
        conditioner.check_given(self._n_mels, condition)
        filters = self.filters(x.shape[1]) if filters is None else filters
        h = self.stages(nnx.relu(self.input(x[..., None])), filters, self.embedding(t, label), condition)
        for layer in self.last:
            h = materialized(layer(h))
        h = nnx.relu(self.output1(self.norm(h)))
        return self.output2(h.astype(jnp.float32))[..., 0]
