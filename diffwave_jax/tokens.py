"""Audio as tokens: the codes of 256 levels of the autoregressive models, each as its authors' programs compute it.

A token is an integer; 128 stands for silence in the codes that know it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LEVELS = 256
SILENCE = 128  # what fills up shorter clips
MU = LEVELS - 1  # of the mu-law
SCALE_EPSILON, EDGE = 1e-6, 0.01  # state-spaces/s4, `src/dataloaders/audio.py`


class Code(NamedTuple):
    """How audio becomes tokens and comes back.

    Attributes:
      encode: audio (..., L), each clip in [-1, 1], to tokens (..., L) int32.
      decode: tokens (...) to audio (...) float32 in [-1, 1].
    """

    encode: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray], np.ndarray]


def _mu_law(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.log1p(MU * np.abs(x)) / np.log1p(MU)


def _inverse_mu_law(y: np.ndarray) -> np.ndarray:
    return (np.sign(y) * np.expm1(np.abs(y) * np.log1p(MU)) / MU).astype(np.float32)


def _scaled(audio: np.ndarray) -> np.ndarray:
    """Each clip from 0 to almost 1, by its own smallest and largest value."""
    audio = np.asarray(audio, np.float64)
    low, high = np.min(audio, axis=-1, keepdims=True), np.max(audio, axis=-1, keepdims=True)
    return (audio - low) / (high - low + SCALE_EPSILON)


def _levels(y: np.ndarray) -> np.ndarray:
    """[0, 1] to tokens."""
    return np.floor(y * (LEVELS - EDGE) + EDGE / 2).astype(np.int32)


def _encode_mu_law(audio: np.ndarray) -> np.ndarray:
    y = _mu_law(np.clip(np.asarray(audio, np.float64), -1, 1))
    return np.floor((y + 1) / 2 * MU + 0.5).astype(np.int32)


def _encode_scaled_mu_law(audio: np.ndarray) -> np.ndarray:
    x = 2 * _scaled(audio) - 1
    y = np.sign(x) * np.log1p(MU * np.abs(x + 1e-8)) / np.log1p(MU)
    return _levels((y + 1) / 2)


def _centred(tokens: np.ndarray) -> np.ndarray:
    """Tokens to [-1, 1): 128 is 0."""
    return np.asarray(tokens, np.float64) / (LEVELS / 2) - 1


CODES = {
    # torchaudio's, which RF5/simple-sashimi uses: decoding and encoding again gives the same tokens.
    "mu_law": Code(_encode_mu_law, lambda tokens: _inverse_mu_law(2 * np.asarray(tokens, np.float64) / MU - 1)),
    # state-spaces/s4's: every clip is scaled to its own range first, so that its loudness and offset are lost.
    "scaled_mu_law": Code(_encode_scaled_mu_law, lambda tokens: _inverse_mu_law(_centred(tokens))),
    "scaled_linear": Code(lambda audio: _levels(_scaled(audio)), lambda tokens: _centred(tokens).astype(np.float32)),
}


def encode_recorded(code: Code, audio: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Clips (n, L) as tokens (n, L) int32: the recorded samples of each by themselves, `SILENCE` after them.

    Args:
      code: of `CODES`.
      audio: (n, L) in [-1, 1].
      recorded: (n,) how many of each clip's samples come from its recording.
    """
    tokens = np.full(audio.shape, SILENCE, np.int32)
    for row, length in enumerate(recorded):
        if length:
            tokens[row, :length] = code.encode(audio[row, :length])
    return tokens
