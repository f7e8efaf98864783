"""Which word a clip says: a small residual network on log-mel spectrograms, for the metrics of generated speech."""

import dataclasses

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from flax import nnx

WINDOW_SECONDS = 0.032
HOP_SECONDS = 0.01
LOWEST_HZ = 60.0
FLOOR = 1e-5  # of the loudest mel band of a clip: -50 dB, about where the quietest sounds of speech end


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """The classifier's input and size; the defaults are for SC09.

    Attributes:
      sample_rate: of the audio, in Hz.
      length: samples of a clip it is trained on; the network itself takes any length.
      n_classes: number of words.
      n_mels: mel bands.
      channels: width of each stage; every stage halves both axes. The last is the number of features.
      blocks: residual blocks in each stage.
    """

    sample_rate: int = 16000
    length: int = 16000
    n_classes: int = 10
    n_mels: int = 64
    channels: tuple[int, ...] = (32, 64, 128, 256)
    blocks: int = 2

    def __post_init__(self):
        for field in ("sample_rate", "length", "n_classes", "n_mels", "blocks"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} must be at least 1, got {getattr(self, field)}")
        if not self.channels or min(self.channels) < 8 or any(width % 8 for width in self.channels):
            raise ValueError(f"channels must be multiples of 8, one for each stage, got {self.channels}")


class ResidualBlock(nnx.Module):
    """Two normalised 3x3 convolutions and a shortcut, pre-activation (He et al., arXiv 1603.05027)."""

    def __init__(self, in_features: int, out_features: int, stride: int, *, rngs: nnx.Rngs):
        self.norm1 = group_norm(in_features, rngs=rngs)
        self.conv1 = convolution(in_features, out_features, stride=stride, rngs=rngs)
        self.norm2 = group_norm(out_features, rngs=rngs)
        self.conv2 = convolution(out_features, out_features, rngs=rngs)
        if stride != 1 or in_features != out_features:
            self.shortcut = convolution(in_features, out_features, width=1, rngs=rngs)
        self.stride = stride

    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, T, M, in_features) to (B, T / stride, M / stride, out_features)."""
        hidden = self.conv1(nnx.relu(self.norm1(x)))
        hidden = self.conv2(nnx.relu(self.norm2(hidden)))
        if self.stride != 1:
            x = nnx.avg_pool(x, (self.stride,) * 2, strides=(self.stride,) * 2, padding="SAME")
        return hidden + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Classifier(nnx.Module):
    """Log-mel spectrogram, residual stages, and the mean over time and frequency as features."""

    def __init__(self, config: ClassifierConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.input = convolution(1, config.channels[0], rngs=rngs)
        blocks, width = [], config.channels[0]
        for channels in config.channels:
            for stride in [2] + [1] * (config.blocks - 1):
                blocks.append(ResidualBlock(width, channels, stride, rngs=rngs))
                width = channels
        self.blocks = nnx.List(blocks)
        self.norm = group_norm(width, rngs=rngs)
        self.output = nnx.Linear(width, config.n_classes, rngs=rngs)

    def features(self, audio: jax.Array) -> jax.Array:
        """Audio (B, L) to the penultimate features (B, channels[-1]), which do not depend on its level."""
        return self.features_of_mel(log_mel(audio, self.config.sample_rate, self.config.n_mels))

    def features_of_mel(self, mel: jax.Array) -> jax.Array:
        """`log_mel` (B, T, M) to features (B, channels[-1])."""
        x = self.input(mel[..., None])
        for block in self.blocks:
            x = block(x)
        return nnx.relu(self.norm(x)).mean(axis=(1, 2))

    def logits(self, features: jax.Array) -> jax.Array:
        """Features (B, channels[-1]) to unnormalised log-probabilities (B, n_classes)."""
        return self.output(features)

    def __call__(self, audio: jax.Array) -> jax.Array:
        """Audio (B, L) to unnormalised log-probabilities (B, n_classes)."""
        return self.logits(self.features(audio))


def log_mel(audio: jax.Array, sample_rate: int, n_mels: int) -> jax.Array:
    """Log-mel spectrogram (B, T, n_mels) of audio (B, L), 100 frames a second, from -1 to 1.

    1 is the loudest mel band of the clip, -1 is 50 dB below it. Digital silence gives 1 everywhere.
    """
    window, hop = round(WINDOW_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    padded = jnp.pad(audio, ((0, 0), (window // 2, window // 2)))
    start = np.arange(0, padded.shape[1] - window + 1, hop)
    frames = padded[:, start[:, None] + np.arange(window)] * np.hanning(window).astype(np.float32)
    power = jnp.square(jnp.abs(jnp.fft.rfft(frames)))
    bands = power @ mel_bands(sample_rate, window, n_mels)
    loudest = jnp.maximum(bands.max(axis=(1, 2), keepdims=True), 1e-12)
    return 1 + jnp.log(bands / loudest + FLOOR) * (2 / -np.log(FLOOR))


def mel_bands(sample_rate: int, window: int, n_mels: int) -> np.ndarray:
    """Triangular mel filters (window // 2 + 1, n_mels), each of unit area (Slaney's)."""
    return librosa.filters.mel(sr=sample_rate, n_fft=window, n_mels=n_mels, fmin=LOWEST_HZ).T


def convolution(in_features: int, out_features: int, *, width=3, stride=1, rngs: nnx.Rngs) -> nnx.Conv:
    """A "same"-padded square convolution without bias, He-initialised."""
    init = nnx.initializers.he_normal()
    size, strides = (width, width), (stride, stride)
    return nnx.Conv(in_features, out_features, size, strides=strides, use_bias=False, kernel_init=init, rngs=rngs)


def group_norm(features: int, *, rngs: nnx.Rngs) -> nnx.GroupNorm:
    """Normalisation over time, frequency and groups of 8 channels: the same for every batch, in training and after."""
    return nnx.GroupNorm(features, num_groups=None, group_size=8, rngs=rngs)
