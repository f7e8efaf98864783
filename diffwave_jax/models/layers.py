"""Layers shared by the networks, channels last, with the initial values PyTorch gives them."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Real

from diffwave_jax.models import labels
from diffwave_jax.models.dense import Linear, add_bias, matmul
from diffwave_jax.models.initial import on_host, standard_normal, uniform_fan_in

MAX_PERIOD = 10_000  # of the step embedding's slowest sinusoid
STEP_WIDTHS = (128, 512, 512)  # of the step embedding: its sinusoids, its hidden layer, what every block listens to


def gelu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """GELU in its exact erf form; `jax.nn.gelu` computes it through erfc, which costs XLA on CPU twice the time."""
    return 0.5 * x * (1 + jax.lax.erf(x * np.sqrt(0.5).astype(x.dtype)))


class Conv(nnx.Module):
    """A "same"-padded 1-D convolution.

    Args:
      in_features: input channels.
      out_features: output channels.
      width: taps, odd.
      dilation: samples between taps.
      dtype: what the convolution is computed in; the weights stay float32.
      rngs: source of the initial values.
    """

    def __init__(
        self, in_features: int, out_features: int, width: int, *, dilation=1, dtype=jnp.float32, rngs: nnx.Rngs
    ):
        init = uniform_fan_in(in_features * width)
        self.kernel = nnx.Param(init(rngs.params(), (width, in_features, out_features)))
        self.bias = nnx.Param(init(rngs.params(), (out_features,)))
        self.dilation = dilation
        self.dtype = dtype

    def __call__(self, x: Float[Array, "batch samples inputs"]) -> Float[Array, "batch samples outputs"]:
        """(B, L, in_features) to (B, L, out_features)."""
        return _convolve(x, self.kernel[...], self.bias[...], self.dilation, self.dtype)


def _convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array, dilation: int, dtype) -> jax.Array:
    y = jax.lax.conv_general_dilated(
        x.astype(dtype),
        kernel.astype(dtype),
        window_strides=(1,),
        padding="SAME",
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )
    return y + bias.astype(dtype)


class WeightNormConv(nnx.Module):
    """`Conv` with weight normalisation, `g v / ||v||` (Salimans & Kingma, arXiv 1602.07868); arguments as there.

    The norm runs over every axis of `v` but the output channel's.
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
        return _convolve(x, weight_norm(self.v[...], self.g[...]), self.bias[...], self.dilation, self.dtype)


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
      widths: of the sinusoids (even), the hidden layer and the embedding.
      table: 0 for sinusoids of the step; T for rows of `step_table`, in between interpolated, as in lmnt-com/diffwave.
      rngs: source of the initial values.
    """

    def __init__(
        self,
        n_classes: int = 0,
        n_speakers: int = 0,
        widths: tuple[int, ...] = STEP_WIDTHS,
        table: int = 0,
        *,
        rngs: nnx.Rngs,
    ):
        features, hidden, out_features = widths
        self.fc1 = Linear(features, hidden, rngs=rngs)
        self.fc2 = Linear(hidden, out_features, rngs=rngs)
        if n_classes:
            self.label = nnx.Embed(n_classes + 1, out_features, embedding_init=standard_normal, rngs=rngs)
        if n_speakers:
            self.speaker = nnx.Embed(n_speakers + 1, out_features, embedding_init=standard_normal, rngs=rngs)
        self.n_classes = n_classes
        self.n_speakers = n_speakers
        self.features = features
        self.table = table

    def __call__(
        self, t: Real[Array, " batch"], label: Int[Array, " batch"] | None = None
    ) -> Float[Array, "batch features"]:
        """Embedding (B, out_features) of steps `t` (B,) and labels (B,), see `diffwave_jax.models.labels`."""
        hidden = nnx.silu(self.fc1(self._of_step(t)))
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

    def _of_step(self, t: jax.Array) -> jax.Array:
        return look_up(step_table(self.table, self.features), t) if self.table else sinusoids(t, self.features)


def check_widths(widths: tuple[int, ...]) -> None:
    """ValueError unless they are a step embedding's, see `StepEmbedding`."""
    if len(widths) != 3 or min(widths) < 1 or widths[0] % 2 or widths[0] < 4:
        raise ValueError(f"step_widths must be three widths, the first even and at least 4, got {widths}")


def sinusoids(t: Real[Array, " batch"], features: int) -> Float[Array, "batch {features}"]:
    """`[sin(t f), cos(t f)]` (B, features) of steps `t` (B,), f falling from 1 to 1/10000 (DiffWave, equation 7)."""
    half = features // 2
    frequency = np.exp(-np.log(MAX_PERIOD) * np.arange(half) / (half - 1)).astype(np.float32)
    angle = t.astype(jnp.float32)[:, None] * frequency
    return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], axis=-1)


def step_table(steps: int, features: int) -> Float32[np.ndarray, "{steps} {features}"]:
    """`[sin(t f), cos(t f)]` (steps, features) of all whole steps, f rising from 1 to 10000, as in lmnt-com/diffwave.

    The angles reach 490,000, where float32 keeps 0.03 of them: that rounding is what its networks were trained with.
    """
    half = features // 2
    exponent = np.arange(half, dtype=np.float32) * np.float32(4) / np.float32(half - 1)
    frequency = np.power(10.0, exponent.astype(np.float64)).astype(np.float32)
    angle = (np.arange(steps, dtype=np.float32)[:, None] * frequency).astype(np.float64)
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def look_up(table: Float[np.ndarray, "steps features"], t: Real[Array, " batch"]) -> Float[Array, "batch features"]:
    """Rows `t` (B,) of a table, (B, features); in between they are interpolated."""
    rows, t = jnp.asarray(table), t.astype(jnp.float32)
    low, high = (rows[end(t).astype(jnp.int32)] for end in (jnp.floor, jnp.ceil))
    return low + (high - low) * (t - jnp.floor(t))[:, None]
