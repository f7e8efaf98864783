"""SaShiMi: a U-Net of S4 layers over raw audio (Goel et al., arXiv 2202.09729), as a diffusion network."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Complex64, Float, Float32, Int, Real

from diffwave_jax.kernels.backends import IMPLEMENTATIONS, Implementation
from diffwave_jax.models import labels, weights
from diffwave_jax.models.compiling import materialized
from diffwave_jax.models.dense import LayerNorm, Linear, check_dtype
from diffwave_jax.models.layers import STEP_FEATURES, StepEmbedding, WeightNormLinear, gelu
from diffwave_jax.models.s4 import S4, Filters, stacked_filters


@dataclasses.dataclass(frozen=True)
class SaShiMiConfig:
    """SaShiMi's size; the defaults are the released models'.

    Stages are counted from the full rate down; there are len(pool) + 1 of them, the last is the centre.

    Attributes:
      d_model: channels at the full rate.
      n_layers: (S4, feed-forward) pairs per stage and direction: one number for all stages, or one each; 0 is allowed.
      pool: how many samples each stage's end joins into one.
      expand: growth of the channels at each pool.
      ff: growth inside the feed-forward blocks.
      d_state: states N of each S4 kernel, even.
      l_max: length at which the S4 kernels are truncated: one number for all stages, or one each; at least a stage's
        length.
      length: samples of a clip, a multiple of the product of `pool`.
      tie_state: one state matrix for all channels of a layer.
      glu: gated output layers in S4.
      unet: blocks on the way down too; without, stages only pool on the way down.
      n_classes: classes to condition on, 0 for none.
      n_speakers: speakers to condition on besides, 0 for none; a label then says both (`diffwave_jax.models.labels`).
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
    n_classes: int = 0
    n_speakers: int = 0
    dtype: str = "float32"
    remat: bool = False
    s4_implementation: Implementation | None = None

    def __post_init__(self):
        object.__setattr__(self, "pool", tuple(self.pool))
        for field in ("d_model", "expand", "ff", "length"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        labels.check(self.n_classes, self.n_speakers)
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

    def stage_lengths(self, length: int) -> tuple[int, ...]:
        """Samples of each stage for a clip of `length` samples; ValueError where it does not fit."""
        total = int(np.prod(self.pool))
        if length % total:
            raise ValueError(f"a clip's length must be a multiple of {total} (pool {self.pool}), got {length}")
        lengths = tuple(length // int(np.prod(self.pool[:stage])) for stage in range(len(self.pool) + 1))
        for stage, (samples, l_max) in enumerate(zip(lengths, self.stage_l_max, strict=True)):
            if self.stage_layers[stage] and samples > l_max:
                raise ValueError(f"stage {stage} has {samples} samples, more than its l_max {l_max}")
        return lengths


class S4Block(nnx.Module):
    """`x + S4(LayerNorm(x) + Linear(embedding))`.

    Args:
      d_model: channels H.
      stage: its stage, which decides its length.
      place: which of the stage's S4 blocks it is, in execution order: where its filter stands among the stage's.
      config: the network's size.
      rngs: source of the initial values.
    """

    def __init__(self, d_model: int, stage: int, place: int, config: SaShiMiConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        self.stage, self.place = stage, place
        self.norm = LayerNorm(d_model, dtype=dtype, rngs=rngs)
        self.step = Linear(STEP_FEATURES, d_model, dtype=dtype, rngs=rngs)
        self.s4 = S4(
            d_model,
            glu=config.glu,
            dtype=dtype,
            d_state=config.d_state,
            l_max=config.stage_l_max[stage],
            tie_state=config.tie_state,
            implementation=config.s4_implementation,
            rngs=rngs,
        )

    def __call__(
        self,
        x: Float[Array, "batch samples channels"],
        embedding: Float[Array, "batch features"],
        filter: Complex64[Array, "channels samples"],
    ) -> Float[Array, "batch samples channels"]:
        """(B, L, H) to (B, L, H), with the step's embedding (B, STEP_FEATURES) and the filter (H, L) of `s4.filter`."""
        return x + self.s4(self.norm(x) + self.step(embedding)[:, None], filter)


class FeedForwardBlock(nnx.Module):
    """`x + Linear(gelu(Linear(LayerNorm(x))))`."""

    def __init__(self, d_model: int, config: SaShiMiConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        self.norm = LayerNorm(d_model, dtype=dtype, rngs=rngs)
        self.ff1 = Linear(d_model, config.ff * d_model, dtype=dtype, rngs=rngs)
        self.ff2 = Linear(config.ff * d_model, d_model, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch samples channels"]) -> Float[Array, "batch samples channels"]:
        """(B, L, H) to (B, L, H)."""
        return x + self.ff2(gelu(self._widen(x)))

    @weights.remat
    def _widen(self, x: jax.Array) -> jax.Array:
        """For its gradient x is normalised again: x is kept for other ends, and a normalised copy would be as large."""
        return self.ff1(self.norm(x))


class DownPool(nnx.Module):
    """Joins each group of `pool` samples, channel-major, by one linear layer."""

    def __init__(self, d_model: int, pool: int, config: SaShiMiConfig, *, rngs: nnx.Rngs):
        self.pool = pool
        dtype = jnp.dtype(config.dtype)
        self.linear = WeightNormLinear(d_model * pool, d_model * config.expand, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch samples channels"]) -> Float[Array, "batch pooled wider"]:
        """(B, L * pool, H) to (B, L, H * expand)."""
        batch, length, channels = x.shape
        groups = x.reshape(batch, length // self.pool, self.pool, channels)
        return self.linear(jnp.swapaxes(groups, 2, 3).reshape(batch, length // self.pool, channels * self.pool))


class UpPool(nnx.Module):
    """A linear layer, then the inverse of `DownPool`'s reshape; no causal shift."""

    def __init__(self, d_model: int, pool: int, config: SaShiMiConfig, *, rngs: nnx.Rngs):
        self.pool = pool
        dtype = jnp.dtype(config.dtype)
        self.linear = WeightNormLinear(d_model * config.expand, d_model * pool, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "batch pooled wider"]) -> Float[Array, "batch samples channels"]:
        """(B, L, H * expand) to (B, L * pool, H)."""
        groups = self.linear(x)
        batch, length, features = groups.shape
        groups = groups.reshape(batch, length, features // self.pool, self.pool)
        return jnp.swapaxes(groups, 2, 3).reshape(batch, length * self.pool, features // self.pool)


class SaShiMi(nnx.Module):
    """Predicts the noise in a clip.

    Args:
      config: its size.
      rngs: source of the initial values.
    """

    def __init__(self, config: SaShiMiConfig, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.dtype)
        self.config = config
        self.input = WeightNormLinear(1, config.d_model, dtype=dtype, rngs=rngs)
        self.embedding = StepEmbedding(config.n_classes, config.n_speakers, rngs=rngs)
        self.down = nnx.List(_down_layers(config, rngs))
        self.center = nnx.List(_stage_blocks(len(config.pool), config, rngs))
        self.up = nnx.List(_up_layers(config, rngs))
        self.norm = LayerNorm(config.d_model, dtype=dtype, rngs=rngs)
        self.output1 = WeightNormLinear(config.d_model, config.d_model, dtype=dtype, rngs=rngs)
        self.output2 = Linear(config.d_model, 1, init=nnx.initializers.zeros, rngs=rngs)

    def filters(self, length: int | None = None) -> Filters:
        """The S4 layers' filter spectra for clips of `length` samples (default: the config's).

        One array (layers, H, samples) complex64 for each stage, its layers in execution order. They depend on neither
        audio nor step: compute them once and pass them to every call of a sampling run.
        """
        lengths = self.config.stage_lengths(length or self.config.length)
        blocks = [layer for layer in [*self.down, *self.center, *self.up] if isinstance(layer, S4Block)]
        blocks.sort(key=lambda block: block.place)
        return tuple(
            stacked_filters([block.s4 for block in blocks if block.stage == stage], samples)
            for stage, samples in enumerate(lengths)
        )

    def __call__(
        self,
        x: Float[Array, "batch samples"],
        t: Real[Array, " batch"],
        label: Int[Array, " batch"] | None = None,
        *,
        filters: Filters | None = None,
    ) -> Float32[Array, "batch samples"]:
        """Predicted noise (B, L) float32 of audio `x` (B, L) at 0-based steps `t` (B,).

        Args:
          x: (B, L) noisy audio, L a multiple of the product of `pool`.
          t: (B,) diffusion steps.
          label: (B,) see `diffwave_jax.models.labels`, only if the network is conditional; None for no label.
          filters: what `filters(L)` returned; None computes them here.
        """
        filters = self.filters(x.shape[1]) if filters is None else filters
        embedding = self.embedding(t, label)

        def run(layer: nnx.Module, h: jax.Array) -> jax.Array:
            call = weights.remat(type(layer).__call__) if self.config.remat else type(layer).__call__
            if isinstance(layer, S4Block):
                return materialized(call(layer, h, embedding, filters[layer.stage][layer.place]))
            return materialized(call(layer, h))

        h = nnx.relu(self.input(x[..., None]))
        skips = [h]
        for layer in self.down:
            h = run(layer, h)
            if self.config.unet or isinstance(layer, DownPool):
                skips.append(h)
        for layer in self.center:
            h = run(layer, h)
        h = self._ascend(run, h + skips.pop(), skips)
        h = nnx.relu(self.output1(self.norm(h)))
        return self.output2(h.astype(jnp.float32))[..., 0]

    def _ascend(
        self, run: Callable[[nnx.Module, jax.Array], jax.Array], h: jax.Array, skips: list[jax.Array]
    ) -> jax.Array:
        if self.config.unet:
            for layer in self.up:
                h = run(layer, h) + skips.pop()
            return h
        stage_input = 0  # without a U-Net each stage adds its own input to its output, as in autoregressive SaShiMi
        for layer in self.up:
            if isinstance(layer, UpPool):
                h = stage_input = run(layer, h + stage_input) + skips.pop()
            else:
                h = run(layer, h)
        return h + stage_input


def _stage_blocks(stage: int, config: SaShiMiConfig, rngs: nnx.Rngs, *, first: int = 0) -> list[nnx.Module]:
    """The blocks of a stage in one direction; its S4 blocks are the stage's `first` and those after it."""
    d_model = config.d_model * config.expand**stage
    blocks: list[nnx.Module] = []
    for place in range(first, first + config.stage_layers[stage]):
        blocks += [S4Block(d_model, stage, place, config, rngs=rngs), FeedForwardBlock(d_model, config, rngs=rngs)]
    return blocks


def _down_layers(config: SaShiMiConfig, rngs: nnx.Rngs) -> list[nnx.Module]:
    layers: list[nnx.Module] = []
    for stage, pool in enumerate(config.pool):
        if config.unet:
            layers += _stage_blocks(stage, config, rngs)
        layers.append(DownPool(config.d_model * config.expand**stage, pool, config, rngs=rngs))
    return layers


def _up_layers(config: SaShiMiConfig, rngs: nnx.Rngs) -> list[nnx.Module]:
    layers: list[nnx.Module] = []
    for stage, pool in reversed(list(enumerate(config.pool))):
        layers.append(UpPool(config.d_model * config.expand**stage, pool, config, rngs=rngs))
        layers += _stage_blocks(stage, config, rngs, first=config.stage_layers[stage] if config.unet else 0)
    return layers
