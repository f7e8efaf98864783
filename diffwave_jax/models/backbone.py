"""SaShiMi's stages of S4 layers over raw audio (Goel et al., arXiv 2202.09729), which both of its networks share."""

import dataclasses
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Complex64, Float

from diffwave_jax.kernels.backends import IMPLEMENTATIONS, Implementation
from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.models import weights
from diffwave_jax.models.compiling import materialized
from diffwave_jax.models.conditioner import Condition, Upsampler, mask
from diffwave_jax.models.dense import LayerNorm, Linear, ScalarNorm, check_dtype
from diffwave_jax.models.layers import WeightNormLinear, gelu
from diffwave_jax.models.s4 import S4, Filters, shortened, stacked_filters


@dataclasses.dataclass(frozen=True)
class Variant:
    """What the networks on this backbone do differently.

    Attributes:
      causal: no output depends on a later input.
      step_features: width of the embedding that every S4 block listens to; 0 for none.
      norm: what the blocks normalise with.
      pool_linear: the pools' linear layers.
      ff_linear: the feed-forward blocks' linear layers.
      free_q: see `diffwave_jax.models.s4.S4Kernel`.
      pair_skips: skips round each pair of blocks instead of each block.
      long_clips: clips may be longer than `l_max`, beyond which kernels are zero.
      n_mels: bands of the mel spectrogram that every S4 block listens to; 0 for none.
      upsample: factors that bring its frames to the rate of the audio.
      crop_condition: stages of lower rates hear the first samples of the condition, not every so manieth.
    """

    causal: bool = False
    step_features: int = 0
    norm: type[LayerNorm | ScalarNorm] = LayerNorm
    pool_linear: type[Linear | WeightNormLinear] = WeightNormLinear
    ff_linear: type[Linear | WeightNormLinear] = Linear
    free_q: bool = False
    pair_skips: bool = False
    long_clips: bool = False
    n_mels: int = 0
    upsample: tuple[int, ...] = (16, 16)
    crop_condition: bool = False

    @property
    def hop(self) -> int:
        """Samples of audio for each mel frame."""
        return int(np.prod(self.upsample))


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """The size of SaShiMi's backbone.

    Stages are counted from the full rate down; there are len(pool) + 1 of them, the last is the centre.

    Attributes:
      d_model: channels at the full rate.
      n_layers: (S4, feed-forward) pairs per stage and direction: one number for all stages, or one each; 0 is allowed.
      pool: how many samples each stage's end joins into one.
      expand: growth of the channels at each pool.
      ff: growth inside the feed-forward blocks.
      d_state: states N of each S4 kernel, even.
      l_max: length at which the S4 kernels are truncated: one number for all stages, or one each; at least a stage's
        length, unless the network takes longer clips.
      length: samples of a clip, a multiple of the product of `pool`.
      tie_state: one state matrix for all channels of a layer.
      glu: gated output layers in S4.
      unet: blocks on the way down too; without, stages only pool on the way down.
      dtype: what the dense layers compute in; weights, S4 kernels and FFTs stay float32.
      remat: recompute the blocks' activations in the backward pass instead of keeping them.
      s4_implementation: the `kernels` implementation, None for the platform's best.
    """

    d_model: int = 128
    n_layers: int | tuple[int, ...] = 6
    pool: tuple[int, ...] = (4, 4)
    expand: int = 2
    ff: int = 2
    d_state: int = 64
    l_max: int | tuple[int, ...] = 16000
    length: int = 16000
    tie_state: bool = False
    glu: bool = True
    unet: bool = True
    dtype: str = "float32"
    remat: bool = False
    s4_implementation: Implementation | None = None

    def __post_init__(self):
        object.__setattr__(self, "pool", tuple(self.pool))
        for field in ("d_model", "expand", "ff", "length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        check_dtype(self.dtype)
        if self.d_state < 2 or self.d_state % 2:
            raise ValueError(f"d_state must be even and at least 2, got {self.d_state}")
        if self.s4_implementation not in (None, *IMPLEMENTATIONS):
            known = ", ".join(IMPLEMENTATIONS)
            raise ValueError(f"s4_implementation must be one of {known}, or None, got {self.s4_implementation!r}")
        if min(self.stage_layers) < 0 or min(self.pool, default=1) < 1:
            raise ValueError("n_layers must be at least 0, every pool at least 1")
        self.stage_lengths(self.length)

    @property
    def stage_layers(self) -> tuple[int, ...]:
        """`n_layers` of each stage."""
        return self._per_stage("n_layers", self.n_layers)

    @property
    def stage_l_max(self) -> tuple[int, ...]:
        """`l_max` of each stage."""
        return self._per_stage("l_max", self.l_max)

    def _per_stage(self, field: str, value: int | tuple[int, ...]) -> tuple[int, ...]:
        stages = len(self.pool) + 1
        values = (value,) * stages if isinstance(value, int) else tuple(value)
        if len(values) != stages:
            raise ValueError(f"{field} must be one number or {stages} (one per stage), got {value}")
        return values

    @property
    def variant(self) -> Variant:
        """How the blocks and pools of this network differ."""
        return Variant()

    @property
    def rates(self) -> tuple[int, ...]:
        """Samples of audio that each stage sees as one."""
        return tuple(int(np.prod(self.pool[:stage])) for stage in range(len(self.pool) + 1))

    @property
    def period(self) -> int:
        """Samples that the centre sees as one: a clip's length is a multiple of it."""
        return self.rates[-1]

    def stage_lengths(self, length: int) -> tuple[int, ...]:
        """Samples of each stage for a clip of `length` samples; ValueError where it does not fit."""
        if length % self.period:
            raise ValueError(f"a clip's length must be a multiple of {self.period} (pool {self.pool}), got {length}")
        lengths = tuple(length // rate for rate in self.rates)
        for stage, (samples, l_max) in enumerate(zip(lengths, self.stage_l_max, strict=True)):
            if self.stage_layers[stage] and samples > l_max and not self.variant.long_clips:
                raise ValueError(f"stage {stage} has {samples} samples, more than its l_max {l_max}")
        return lengths


class S4Block(nnx.Module):
    """`x + S4(norm(x))`, or `x + S4(norm(x) + Linear(embedding))` in a network that has an embedding.

    In one that has a condition, `Linear(upsampled mel)` is added to that.

    Args:
      d_model: channels H.
      stage: its stage, which decides its length.
      config: the network's size.
      rngs: source of the initial values.
    """

    def __init__(self, d_model: int, stage: int, config: BackboneConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        variant = config.variant
        self.stage, self.rate, self.variant = stage, config.rates[stage], variant
        self.norm = variant.norm(d_model, dtype=dtype, rngs=rngs)
        if variant.step_features:
            self.step = Linear(variant.step_features, d_model, dtype=dtype, rngs=rngs)
        self.s4 = S4(
            d_model,
            glu=config.glu,
            dtype=dtype,
            d_state=config.d_state,
            l_max=config.stage_l_max[stage],
            tie_state=config.tie_state,
            directions=1 if variant.causal else 2,
            free_q=variant.free_q,
            implementation=config.s4_implementation,
            rngs=rngs,
        )
        if variant.n_mels:
            self.upsampler = Upsampler(variant.upsample, weight_norm=True, dtype=dtype, rngs=rngs)
            self.condition = WeightNormLinear(variant.n_mels, d_model, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "batch samples channels"],
        filter: Complex64[Array, "channels samples"],
        embedding: Float[Array, "batch features"] | None = None,
        condition: Condition | None = None,
    ) -> Float[Array, "batch samples channels"]:
        """(B, L, H) to (B, L, H), with the filter (H, L) of `s4.filter`, and the embedding (B, F) and the condition.

        With silence beyond the end of each clip, a padded clip gives what it gives unpadded.
        """
        normal = self.norm(x)
        if embedding is not None:
            normal = normal + self.step(embedding)[:, None]
        if condition is None:
            return x + self.s4(normal, filter)
        frames = condition.frames
        samples = None if frames is None else frames * self.variant.hop // self.rate
        return x + self.s4(mask(normal, samples), filter) + self.condition(self._mel(condition, x.shape[1]))

    def _mel(self, condition: Condition, length: int) -> Float[Array, "batch {length} bands"]:
        """The condition for `length` samples of this block's stage."""
        if not self.variant.crop_condition:
            return self.upsampler(condition, length * self.rate, every=self.rate)
        seen = divide_up(length, self.variant.hop) + len(self.variant.upsample)  # frames whose filters reach that far
        return self.upsampler(condition._replace(mel=condition.mel[:, :seen]), length)


class FeedForwardBlock(nnx.Module):
    """`x + Linear(gelu(Linear(norm(x))))`."""

    def __init__(self, d_model: int, config: BackboneConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        linear = config.variant.ff_linear
        self.norm = config.variant.norm(d_model, dtype=dtype, rngs=rngs)
        self.ff1 = linear(d_model, config.ff * d_model, dtype=dtype, rngs=rngs)
        self.ff2 = linear(config.ff * d_model, d_model, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "*rows channels"]) -> Float[Array, "*rows channels"]:
        """(..., H) to (..., H)."""
        return x + self.ff2(gelu(self._widen(x)))

    @weights.remat
    def _widen(self, x: jax.Array) -> jax.Array:
        """For its gradient x is normalised again: x is kept for other ends, and a normalised copy would be as large."""
        return self.ff1(self.norm(x))


class DownPool(nnx.Module):
    """Joins each group of `pool` samples, channel-major, by one linear layer."""

    def __init__(self, d_model: int, pool: int, config: BackboneConfig, *, rngs: nnx.Rngs):
        self.pool = pool
        linear = config.variant.pool_linear
        self.linear = linear(d_model * pool, d_model * config.expand, dtype=jnp.dtype(config.dtype), rngs=rngs)

    def __call__(self, x: Float[Array, "batch samples channels"]) -> Float[Array, "batch pooled wider"]:
        """(B, L * pool, H) to (B, L, H * expand)."""
        batch, length, channels = x.shape
        groups = x.reshape(batch, length // self.pool, self.pool, channels)
        return self.linear(jnp.swapaxes(groups, 2, 3).reshape(batch, length // self.pool, channels * self.pool))


class UpPool(nnx.Module):
    """A linear layer, then the inverse of `DownPool`'s reshape.

    In a causal network its input is known only after the samples that `DownPool` joined into it, so its output is for
    the next group: the first group gets zeros.
    """

    def __init__(self, d_model: int, pool: int, config: BackboneConfig, *, rngs: nnx.Rngs):
        self.pool = pool
        self.causal = config.variant.causal
        linear = config.variant.pool_linear
        self.linear = linear(d_model * config.expand, d_model * pool, dtype=jnp.dtype(config.dtype), rngs=rngs)

    def __call__(self, x: Float[Array, "batch pooled wider"]) -> Float[Array, "batch samples channels"]:
        """(B, L, H * expand) to (B, L * pool, H)."""
        y = self.spread(x)
        return jnp.pad(y, ((0, 0), (self.pool, 0), (0, 0)))[:, : -self.pool] if self.causal else y

    def spread(self, x: Float[Array, "batch pooled wider"]) -> Float[Array, "batch samples channels"]:
        """The same without the delay of a causal network."""
        groups = self.linear(x)
        batch, length, features = groups.shape
        groups = groups.reshape(batch, length, features // self.pool, self.pool)
        return jnp.swapaxes(groups, 2, 3).reshape(batch, length * self.pool, features // self.pool)


class Backbone(nnx.Module):
    """The stages: down to the centre and up again, with skips from one way to the other.

    Args:
      config: its size.
      rngs: source of the initial values.
    """

    def __init__(self, config: BackboneConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.down = nnx.List(_down_layers(config, rngs))
        self.center = nnx.List(_stage_blocks(len(config.pool), config, rngs))
        self.up = nnx.List(_up_layers(config, rngs))

    def s4_blocks(self) -> list[S4Block]:
        """All of them, in execution order."""
        return [layer for layer in [*self.down, *self.center, *self.up] if isinstance(layer, S4Block)]

    def s4_blocks_by_stage(self) -> list[list[S4Block]]:
        """Those of each stage, in execution order."""
        blocks = self.s4_blocks()
        return [[block for block in blocks if block.stage == stage] for stage in range(len(self.config.pool) + 1)]

    def filters(self, length: int | None = None) -> Filters:
        """The S4 layers' filter spectra for clips of `length` samples (default: the config's).

        One array (layers, H, samples) complex64 for each stage, its layers in execution order. They depend on the
        weights alone: compute them once and pass them to every call.
        """
        lengths = self.config.stage_lengths(length or self.config.length)
        return tuple(
            stacked_filters([block.s4 for block in blocks], samples)
            for blocks, samples in zip(self.s4_blocks_by_stage(), lengths, strict=True)
        )

    def short_filters(self, filters: Filters, memory: float) -> Filters:
        """What `filters` returned with less memory: the stages above the innermost hear about `memory` samples far.

        The innermost stage, which holds together what is said, hears as before.
        """
        outer = [
            () if isinstance(stage, tuple) else shortened(stage, memory / rate)
            for stage, rate in zip(filters[:-1], self.config.rates[:-1], strict=True)
        ]
        return (*outer, filters[-1])

    def stages(
        self,
        h: Float[Array, "batch samples channels"],
        filters: Filters,
        embedding: Float[Array, "batch features"] | None = None,
        condition: Condition | None = None,
    ) -> Float[Array, "batch samples channels"]:
        """(B, L, d_model) to (B, L, d_model), with what `filters(L)` returned and what the S4 blocks listen to."""
        places = [itertools.count() for _ in filters]

        def run(layer: nnx.Module, h: jax.Array) -> jax.Array:
            call = type(layer).__call__
            call = weights.traced_once(weights.remat(call) if self.config.remat else call)
            if isinstance(layer, S4Block):
                filter = filters[layer.stage][next(places[layer.stage])]
                return materialized(call(layer, h, filter, embedding, condition))
            return materialized(call(layer, h))

        skips = [h]
        for layer in self.down:
            h = run(layer, h)
            if isinstance(layer, DownPool) or (self.config.unet and self._has_skip(layer)):
                skips.append(h)
        for layer in self.center:
            h = run(layer, h)
        return self._ascend(run, h + skips.pop(), skips)

    def _ascend(
        self, run: Callable[[nnx.Module, jax.Array], jax.Array], h: jax.Array, skips: list[jax.Array]
    ) -> jax.Array:
        if self.config.unet or self.config.variant.pair_skips:
            for layer in self.up:
                h = run(layer, h)
                if isinstance(layer, UpPool) or (self.config.unet and self._has_skip(layer)):
                    h = h + skips.pop()
            return h
        stage_input = 0  # without a U-Net each stage adds its own input to its output
        for layer in self.up:
            if isinstance(layer, UpPool):
                h = stage_input = run(layer, h + stage_input) + skips.pop()
            else:
                h = run(layer, h)
        return h + stage_input

    def _has_skip(self, block: nnx.Module) -> bool:
        """Whether a skip goes round what this block of a U-Net ends."""
        return not (self.config.variant.pair_skips and isinstance(block, S4Block))


def _stage_blocks(stage: int, config: BackboneConfig, rngs: nnx.Rngs) -> list[nnx.Module]:
    """The blocks of a stage in one direction."""
    d_model = config.d_model * config.expand**stage
    blocks: list[nnx.Module] = []
    for _ in range(config.stage_layers[stage]):
        blocks += [S4Block(d_model, stage, config, rngs=rngs), FeedForwardBlock(d_model, config, rngs=rngs)]
    return blocks


def _down_layers(config: BackboneConfig, rngs: nnx.Rngs) -> list[nnx.Module]:
    layers: list[nnx.Module] = []
    for stage, pool in enumerate(config.pool):
        if config.unet:
            layers += _stage_blocks(stage, config, rngs)
        layers.append(DownPool(config.d_model * config.expand**stage, pool, config, rngs=rngs))
    return layers


def _up_layers(config: BackboneConfig, rngs: nnx.Rngs) -> list[nnx.Module]:
    layers: list[nnx.Module] = []
    for stage, pool in reversed(list(enumerate(config.pool))):
        layers.append(UpPool(config.d_model * config.expand**stage, pool, config, rngs=rngs))
        layers += _stage_blocks(stage, config, rngs)
    return layers
