"""What a vocoder listens to: a mel spectrogram, brought to the rate of the audio.

DiffWave (Kong et al., arXiv 2009.09761), section 3.2.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.models.initial import on_host, uniform_fan_in
from diffwave_jax.models.layers import weight_norm

BANDS, FRAMES = 3, 2  # what one output sees: a band up and down, and two frames
SLOPE = 0.4  # of the leaky ReLU


class Condition(NamedTuple):
    """What a network is told of each clip besides the noisy audio.

    Attributes:
      mel: (B, F, M) mel spectrograms, or what the network's `condition` made of them.
      frames: (B,) frames that each clip has; what follows is padding, which changes nothing before it. None for all.
    """

    mel: Float[Array, "batch frames bands"]
    frames: Int[Array, " batch"] | None = None


class Upsample(nnx.Module):
    """`factor` frames for one: a transposed convolution over frames and bands, of one channel, and a leaky ReLU.

    Args:
      factor: frames that each one becomes.
      weight_norm: the filter is a direction and one length, `g v / ||v||`.
      dtype: what it computes in; the weights stay float32.
      rngs: source of the initial values.
    """

    def __init__(self, factor: int, *, weight_norm: bool, dtype=jnp.float32, rngs: nnx.Rngs):
        init = uniform_fan_in(BANDS * FRAMES * factor)
        kernel = init(rngs.params(), (BANDS, FRAMES * factor))
        if weight_norm:
            self.v = nnx.Param(kernel)
            self.g = nnx.Param(on_host(lambda v: np.sqrt(np.sum(np.square(v)))[None], (1,), kernel))
        else:
            self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(init(rngs.params(), (1,)))
        self.factor, self.dtype = factor, dtype

    def __call__(self, mel: Float[Array, "batch frames bands"], every: int = 1) -> Float[Array, "batch samples bands"]:
        """(B, F, M) to (B, F * factor, M), one sample more where the factor is odd; of those, each `every`th.

        A frame's filter spans two frames, so each block of `factor` outputs is a small matrix product of the two frames
        and three bands around it: nothing is scattered. Outputs that no block needs are not computed.
        """
        batch, frames, bands = mel.shape
        padded = jnp.pad(mel.astype(self.dtype), ((0, 0), (1, 1), (1, 1)))
        near = [
            padded[:, 1 - back : frames + 2 - back, 2 - band : 2 - band + bands]
            for band in range(BANDS)
            for back in range(FRAMES)
        ]
        cut, step = self.factor // 2, math.gcd(self.factor, every)
        phases = self._filter().reshape(BANDS * FRAMES, self.factor)[:, cut % step :: step].astype(self.dtype)
        blocks = jnp.einsum("bfmk,ks->bfsm", jnp.stack(near, axis=-1), phases)
        full = blocks.reshape(batch, (frames + 1) * (self.factor // step), bands)
        kept = slice(cut // step, divide_up((frames + 1) * self.factor - cut - cut % step, step), every // step)
        return nnx.leaky_relu(full[:, kept] + self.bias[...].astype(self.dtype), SLOPE)

    def _filter(self) -> Float[Array, "bands taps"]:
        return weight_norm(self.v[...][..., None], self.g[...])[..., 0] if hasattr(self, "v") else self.kernel[...]


class Upsampler(nnx.Module):
    """From frames to samples, by one `Upsample` after another; arguments as there, but for a factor each."""

    def __init__(self, factors: tuple[int, ...], *, weight_norm: bool, dtype=jnp.float32, rngs: nnx.Rngs):
        self.layers = nnx.List(Upsample(one, weight_norm=weight_norm, dtype=dtype, rngs=rngs) for one in factors)

    def __call__(self, condition: Condition, length: int, every: int = 1) -> Float[Array, "batch samples bands"]:
        """A condition (B, F, M) at the rate of the audio, cut to `length` samples; of those, each `every`th."""
        mel, frames = condition
        *first, last = self.layers
        for layer in first:
            mel = layer(mask(mel, frames))
            frames = None if frames is None else frames * layer.factor + layer.factor % 2
        samples = mel.shape[1] * last.factor + last.factor % 2
        if samples < length:
            raise ValueError(f"{condition.mel.shape[1]} mel frames last {samples} samples, fewer than {length}")
        return last(mask(mel, frames), every)[:, : divide_up(length, every)]


def mask(
    x: Float[Array, "batch samples channels"], count: Int[Array, " batch"] | None
) -> Float[Array, "batch samples channels"]:
    """`x` with zeros from place `count` of each clip on; None leaves it as it is."""
    if count is None:
        return x
    return jnp.where((jnp.arange(x.shape[1]) < count[:, None])[..., None], x, 0)


def check(n_mels: int, upsample: tuple[int, ...], n_classes: int) -> None:
    """ValueError unless they describe a condition, or with no bands none."""
    if n_mels and n_classes:
        raise ValueError(
            f"a network listens to a mel (n_mels {n_mels}) or to a label (n_classes {n_classes}), not both"
        )
    if n_mels < 0:
        raise ValueError(f"n_mels must be at least 0, got {n_mels}")
    if not upsample or min(upsample) < 1:
        raise ValueError(f"upsample must be factors of at least 1, got {upsample}")


def check_given(n_mels: int, condition: Condition | None) -> None:
    """ValueError unless a network of `n_mels` bands is given a condition of as many, and one of none gets none."""
    if condition is None and n_mels:
        raise ValueError(f"this network is a vocoder: give it a condition, a mel spectrogram of {n_mels} bands")
    if condition is not None and condition.mel.shape[-1] != n_mels:
        raise ValueError(f"the condition has {condition.mel.shape[-1]} mel bands, this network takes {n_mels}")
