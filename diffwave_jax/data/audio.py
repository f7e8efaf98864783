"""One clip: from a recording's samples to `length` int16 samples, and from those to floats."""

from collections.abc import Iterator
from typing import NamedTuple

import librosa
import numpy as np

from diffwave_jax.data.spec import DataSpec

SCALE = 32768.0
TRIM_FRAME_SECONDS = 0.032


class Fitted(NamedTuple):
    """One clip of the right length.

    Attributes:
      samples: int16 `(spec.length,)`, of a recording that is kept whole as many as it has.
      clipped: how many of them lay outside [-1, 1] and were clipped.
      recorded: how many come from the recording; zeros follow.
    """

    samples: np.ndarray
    clipped: int
    recorded: int


def windows(samples: np.ndarray, spec: DataSpec) -> Iterator[np.ndarray]:
    """The parts of a recording `(n,)` that become a clip each: the whole, or with `spec.windows` what fills one."""
    if not spec.windows:
        yield samples
        return
    for start in range(0, len(samples) - spec.length + 1, spec.length):
        yield samples[start : start + spec.length]


def fit(samples: np.ndarray, spec: DataSpec) -> Fitted:
    """Trims, cuts, levels, fades and zero-pads float audio `(n,)` as a spec says."""
    if spec.trim_db:
        samples = trim(samples, spec)
    samples = samples if spec.whole else samples[: spec.length]
    if spec.rms:
        samples = level(samples, spec.rms)
    if spec.fade:
        samples = fade(samples, spec.fade)
    clipped = int(np.count_nonzero(np.abs(samples) > 1))
    scaled = samples * SCALE
    np.clip(np.round(scaled, out=scaled), -SCALE, SCALE - 1, out=scaled)
    room = 0 if spec.whole else spec.length - len(samples)
    fitted = scaled.astype(np.int16)
    return Fitted(np.pad(fitted, (0, room)) if room else fitted, clipped, len(samples))


def trim(samples: np.ndarray, spec: DataSpec) -> np.ndarray:
    """Cuts away leading and trailing frames that are `spec.trim_db` below the loudest."""
    frame = round(TRIM_FRAME_SECONDS * spec.sample_rate)
    trimmed, _ = librosa.effects.trim(samples, top_db=spec.trim_db, frame_length=frame, hop_length=max(frame // 4, 1))
    return trimmed


def level(samples: np.ndarray, rms: float) -> np.ndarray:
    """Scales `(n,)` to the given root mean square, or less where the peak would pass 1; silence stays silent."""
    peak = np.abs(samples).max(initial=0.0)
    if peak == 0:
        return samples
    return samples * min(rms / np.sqrt(np.mean(np.square(samples))), 1 / peak)


def fade(samples: np.ndarray, length: int) -> np.ndarray:
    """Fades `(n,)` in and out with half a period of a cosine over `length` samples at either end."""
    edge = min(length, len(samples))
    rise = 0.5 - 0.5 * np.cos(np.pi * ((np.arange(edge) + 0.5) / length))
    faded = samples.astype(np.float64)
    faded[:edge] *= rise
    faded[len(faded) - edge :] *= rise[::-1]
    return faded


def to_float(samples: np.ndarray) -> np.ndarray:
    """Int16 samples as float32 in [-1, 1)."""
    return np.divide(samples, np.float32(SCALE), dtype=np.float32)
