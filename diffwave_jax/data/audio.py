"""One clip: from a file's samples to `length` int16 samples, and from those to floats."""

import re
from pathlib import Path

import librosa
import numpy as np
import soundfile

from diffwave_jax.data.spec import DataSpec

SCALE = 32768.0
TRIM_FRAME_SECONDS = 0.032
# libsndfile reads a shortened WAV file without complaint; only its log tells.
SHORTENED = re.compile(r"^data : (\d+) \(should be (\d+)\)", re.MULTILINE)
# A data chunk of about this many bytes or more is what programs write that do not know the length yet.
LENGTH_UNKNOWN = 2**31 - 2**16


class CorruptClipError(Exception):
    """A file that cannot be read as audio."""


class UnknownFormatError(CorruptClipError):
    """A file that libsndfile does not recognise."""


def read(path: Path, seconds: float | None = None) -> tuple[np.ndarray, int]:
    """Returns a file's audio as float32 in [-1, 1], mono `(n,)`, and its sample rate in Hz.

    Only the first `seconds` if given. Raises `CorruptClipError` where the file is damaged or empty.
    """
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise UnknownFormatError(_reason(error)) from error
    with file:
        _check_whole(file)
        frames = -1 if seconds is None else int(seconds * file.samplerate)
        try:
            samples = file.read(frames, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise CorruptClipError(_reason(error)) from error
        return checked(samples.mean(axis=1)), file.samplerate


def checked(samples: np.ndarray) -> np.ndarray:
    """Returns `samples (n,)`, or raises `CorruptClipError` where there are none or some are not finite."""
    if not samples.size:
        raise CorruptClipError("holds no samples")
    if not np.isfinite(samples).all():
        raise CorruptClipError("holds samples that are not finite")
    return samples


def fit(samples: np.ndarray, spec: DataSpec) -> np.ndarray:
    """Trims, cuts, levels, fades and zero-pads float audio `(n,)` to int16 `(spec.length,)`."""
    if spec.trim_db:
        samples = trim(samples, spec)
    samples = samples[: spec.length]
    if spec.rms:
        samples = level(samples, spec.rms)
    if spec.fade:
        samples = fade(samples, spec.fade)
    samples = np.clip(np.round(samples * SCALE), -SCALE, SCALE - 1).astype(np.int16)
    return np.pad(samples, (0, spec.length - len(samples)))


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
    from_start = np.arange(len(samples)) + 0.5
    rise = 0.5 - 0.5 * np.cos(np.pi * np.minimum(from_start / length, 1))
    return samples * rise * rise[::-1]


def to_float(samples: np.ndarray) -> np.ndarray:
    """Int16 samples as float32 in [-1, 1)."""
    return samples.astype(np.float32) / np.float32(SCALE)


def _check_whole(file: soundfile.SoundFile) -> None:
    shortened = SHORTENED.search(file.extra_info)
    if shortened:
        declared, found = map(int, shortened.groups())
        if found < declared < LENGTH_UNKNOWN:
            raise CorruptClipError(f"ends after {found} of {declared} bytes of audio")


def _reason(error: Exception) -> str:
    """Libsndfile's own words, without the path that the caller names anyway."""
    return getattr(error, "error_string", None) or str(error)
