"""Layers shared by the networks, channels last, with the initial values PyTorch gives them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Real

from diffwave_jax.models import labels
from diffwave_jax.models.dense import Linear, add_bias, matmul
from diffwave_jax.models.initial import on_host, standard_normal, uniform_fan_in

MAX_PERIOD = 10_000  # of the step embedding's slowest sinusoid
STEP_FEATURES = 512  # width of the step embedding, which every block listens to


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU in its exact erf form; `jax.nn.gelu` computes it through erfc, which costs XLA on CPU twice the time."""
    return 0.5 * x * (1 + jax.lax.erf(x * np.sqrt(0.5).astype(x.dtype)))


class WeightNormConv(nnx.Module):
    """A "same"-padded 1-D convolution with weight normalisation, `g v / ||v||` (Salimans & Kingma, arXiv 1602.07868).

    The norm runs over every axis of `v` but the output channel's.

    Args:
      in_features: input channels.
      out_features: output channels.
      width: taps, odd.
      dilation: samples between taps.
      dtype: what the convolution is computed in; the weights stay float32.
      rngs: source of the initial values.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        width: int,
        *,
        dilation=1,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        init = uniform_fan_in(in_features * width)
        self.v = nnx.Param(init(rngs.params(), (width, in_features, out_features)))
        self.g = nnx.Param(on_host(_initial_norm, (out_features,), self.v[...]))
        self.bias = nnx.Param(init(rngs.params(), (out_features,)))
        self.dilation = dilation
        self.dtype = dtype

    def __call__(self, x: Float[Array, "batch samples inputs"]) -> Float[Array, "batch samples outputs"]:
        """(B, L, in_features) to (B, L, out_features)."""
        y = jax.lax.conv_general_dilated(
            x.astype(self.dtype),
            weight_norm(self.v[...], self.g[...]).astype(self.dtype),
            window_strides=(1,),
            padding="SAME",
            rhs_dilation=(self.dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        return y + self.bias[...].astype(self.dtype)


class WeightNormLinear(nnx.Module):
    """A linear layer over the last axis (a 1x1 convolution) with weight normalisation, see `WeightNormConv`."""

    def __init__(self, in_features: int, out_features: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
        init = uniform_fan_in(in_features)
        self.v = nnx.Param(init(rngs.params(), (in_features, out_features)))
        self.g = nnx.Param(on_host(_initial_norm, (out_features,), self.v[...]))
        self.bias = nnx.Param(init(rngs.params(), (out_features,)))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows outputs"]:
        """(..., in_features) to (..., out_features)."""
        kernel = weight_norm(self.v[...], self.g[...]).astype(self.dtype)
        return add_bias(matmul(x.astype(self.dtype), kernel), self.bias[...].astype(self.dtype))


def weight_norm(v: Float[Array, "*inputs outputs"], g: Float[Array, " outputs"]) -> Float[Array, "*inputs outputs"]:
    """`g v / ||v||` with one norm per output channel, the last axis of `v` (..., out) and of `g` (out,)."""
    return _direction(v) * g


def _initial_norm(v: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(np.square(v), axis=tuple(range(v.ndim - 1))))


@jax.custom_jvp
def _direction(v: jax.Array) -> jax.Array:
    return v / _norm(v)


@_direction.defjvp
def _direction_jvp(primals, tangents):
    """A projection: over a single element the gradient is 0, not rounding noise, which Adam would scale up."""
    (v,), (dv,) = primals, tangents
    direction, norm = _direction(v), _norm(v)
    along = jnp.sum(direction * dv, axis=tuple(range(v.ndim - 1)))
    return direction, (dv - direction * along) / norm


def _norm(v: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(v), axis=tuple(range(v.ndim - 1))))


class StepEmbedding(nnx.Module):
    """Diffusion step, and label if there are any, to the vector that every block listens to (DiffWave, section 3.2).

    Args:
      n_classes: number of classes; 0 for an unconditional network, which then has no tables.
      n_speakers: number of speakers, each with a vector of its own that is added; 0 if they are not told apart.
      features: sinusoidal features, even.
      out_features: width of the embedding.
      rngs: source of the initial values.
    """

    def __init__(
        self,
        n_classes: int = 0,
        n_speakers: int = 0,
        features: int = 128,
        out_features: int = STEP_FEATURES,
        *,
        rngs: nnx.Rngs,
    ):
        self.fc1 = Linear(features, out_features, rngs=rngs)
        self.fc2 = Linear(out_features, out_features, rngs=rngs)
        if n_classes:
            self.label = nnx.Embed(n_classes + 1, out_features, embedding_init=standard_normal, rngs=rngs)
        if n_speakers:
            self.speaker = nnx.Embed(n_speakers + 1, out_features, embedding_init=standard_normal, rngs=rngs)
        self.n_classes = n_classes
        self.n_speakers = n_speakers
        self.features = features

    def __call__(
        self, t: Real[Array, " batch"], label: Int[Array, " batch"] | None = None
    ) -> Float[Array, "batch features"]:
        """Embedding (B, out_features) of steps `t` (B,) and labels (B,), see `diffwave_jax.models.labels`."""
        hidden = nnx.silu(self.fc1(sinusoids(t, self.features)))
        embedding = nnx.silu(self.fc2(hidden))
        if not self.n_classes:
            if label is not None:
                raise ValueError("this network is unconditional (n_classes = 0): it takes no label")
            return embedding
        none = labels.count(self.n_classes, self.n_speakers)
        label = jnp.full(t.shape, none, jnp.int32) if label is None else label
        if not self.n_speakers:
            return embedding + self.label(label)
        word = jnp.where(label == none, self.n_classes, label % self.n_classes)
        return embedding + self.label(word) + self.speaker(label // self.n_classes)  # of "none": the last row


def sinusoids(t: Real[Array, " batch"], features: int) -> Float[Array, "batch {features}"]:
    """`[sin(t f), cos(t f)]` (B, features) of steps `t` (B,), f falling from 1 to 1/10000 (DiffWave, equation 7)."""
    half = features // 2
    frequency = np.exp(-np.log(MAX_PERIOD) * np.arange(half) / (half - 1)).astype(np.float32)
    angle = t.astype(jnp.float32)[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)
