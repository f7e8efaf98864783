"""One clip: from a file's samples to `length` int16 samples."""

from pathlib import Path

import librosa
import numpy as np
import soundfile

from diffwave_jax.data.spec import DataSpec
from diffwave_jax.errors import UserError

SCALE = 32768.0


class CorruptClipError(Exception):
    """A file that cannot be read as audio."""


def read(path: Path) -> tuple[np.ndarray, int]:
    """Returns a file's audio as float32 in [-1, 1], mono `(n,)`, and its sample rate in Hz."""
    try:
        audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise CorruptClipError(str(error)) from error
    if not len(audio):
        raise CorruptClipError("no samples")
    if not np.isfinite(audio).all():
        raise CorruptClipError("samples that are not finite")
    return audio.mean(axis=1), rate


def check_rate(path: Path, rate: int, spec: DataSpec) -> None:
    """Raises `UserError` where a clip's sample rate is not the one asked for."""
    if rate != spec.sample_rate:
        raise UserError(
            f"{path.name} is sampled at {rate} Hz but data.sample_rate is {spec.sample_rate} Hz; "
            f"set data.sample_rate to {rate}, or data.source to 'folder' to resample"
        )


def fit(audio: np.ndarray, spec: DataSpec) -> np.ndarray:
    """Trims, cuts, levels and zero-pads float audio `(n,)` to int16 `(spec.length,)`."""
    if spec.trim_db:
        audio, _ = librosa.effects.trim(audio, top_db=spec.trim_db)
    audio = audio[: spec.length]
    if spec.rms:
        audio = _level(audio, spec.rms)
    samples = np.clip(np.round(audio * SCALE), -SCALE, SCALE - 1).astype(np.int16)
    return np.pad(samples, (0, spec.length - len(samples)))


def to_float(samples: np.ndarray) -> np.ndarray:
    """Int16 samples as float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(SCALE)


def _level(audio: np.ndarray, rms: float) -> np.ndarray:
    """Scales to the given root mean square, less where the peak would pass 1; silence stays silent."""
    peak = np.abs(audio).max(initial=0.0)
    if peak == 0:
        return audio
    return audio * min(rms / np.sqrt(np.mean(np.square(audio))), 1 / peak)
