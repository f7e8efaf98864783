"""Mel spectrograms to look at."""

import functools
import io

import numpy as np
from PIL import Image

N_MELS = 80
WINDOW_SECONDS = 0.064
HOP_SECONDS = 0.008
RANGE_DB = 80.0
QUIETEST = 1e-10  # power that counts as silence


def mel_decibels(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mel spectrogram (80, frames) of audio (L,): dB below the clip's loudest point, 0 down to -80."""
    window, hop = (round(seconds * sample_rate) for seconds in (WINDOW_SECONDS, HOP_SECONDS))
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, window // 2), window)[::hop]
    hann = np.sin(np.pi * np.arange(window, dtype=np.float32) / window) ** 2
    power = _mel_weights(sample_rate, window) @ np.square(np.abs(np.fft.rfft(frames * hann))).T
    decibels = 10 * np.log10(np.maximum(power, QUIETEST))
    return np.maximum(decibels - decibels.max(), -RANGE_DB)


def mel_rows(hertz: np.ndarray, sample_rate: int) -> np.ndarray:
    """Where frequencies lie among the 80 rows of a mel spectrogram, 0 for the middle of the lowest."""
    return np.array([_mel(one) for one in hertz]) / _mel(sample_rate / 2) * (N_MELS + 1) - 1


@functools.cache
def _mel_weights(sample_rate: int, window: int) -> np.ndarray:
    """(80, window // 2 + 1): triangles of equal area, evenly spaced on Slaney's mel scale (as librosa's `filters.mel`).

    librosa itself would take longer to import than a script takes for its pictures.
    """
    frequencies = np.fft.rfftfreq(window, 1 / sample_rate)[:, None]
    corners = _hertz(np.linspace(0, _mel(sample_rate / 2), N_MELS + 2))
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).T.astype(np.float32)


def _mel(hertz: float) -> float:
    """Slaney's scale: 3 mel for 200 Hz up to 1 kHz, then 27 mel for every factor of 6.4."""
    return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def mel_png(audio: np.ndarray, sample_rate: int) -> bytes:
    """The mel spectrogram as a small PNG with low frequencies at the bottom."""
    import matplotlib  # once there are clips to show

    levels = np.rint((mel_decibels(audio, sample_rate)[::-1] / RANGE_DB + 1) * 255).astype(np.uint8)
    image = Image.fromarray(levels).convert("P")
    image.putpalette(matplotlib.colormaps["magma"](np.arange(256), bytes=True)[:, :3].tobytes())
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()
