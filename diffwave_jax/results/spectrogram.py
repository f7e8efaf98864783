"""Mel spectrograms to look at."""

import io
import warnings

import librosa
import matplotlib
import numpy as np
from PIL import Image

N_MELS = 80
WINDOW_SECONDS = 0.064
HOP_SECONDS = 0.008
RANGE_DB = 80.0


def mel_decibels(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mel spectrogram (80, frames) of audio (L,): dB below the clip's loudest point, 0 down to -80."""
    window, hop = (round(seconds * sample_rate) for seconds in (WINDOW_SECONDS, HOP_SECONDS))
    with warnings.catch_warnings():
        # A clip may be shorter than the window.
        warnings.filterwarnings("ignore", "n_fft=.* is too large", UserWarning)
        power = librosa.feature.melspectrogram(
            y=audio, sr=sample_rate, n_fft=window, hop_length=hop, n_mels=N_MELS, pad_mode="constant"
        )
    return np.maximum(librosa.power_to_db(power, ref=np.max, top_db=None), -RANGE_DB)


def mel_png(audio: np.ndarray, sample_rate: int) -> bytes:
    """The mel spectrogram as a small PNG with low frequencies at the bottom."""
    levels = np.rint((mel_decibels(audio, sample_rate)[::-1] / RANGE_DB + 1) * 255).astype(np.uint8)
    image = Image.fromarray(levels).convert("P")
    image.putpalette(matplotlib.colormaps["magma"](np.arange(256), bytes=True)[:, :3].tobytes())
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    return data.getvalue()
