"""Clips as 16-bit WAV files that carry, as their comment, what made them."""

import contextlib
import dataclasses
import io
import json
import logging
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import librosa
import numpy as np
import soundfile

from diffwave_jax import recording
from diffwave_jax.errors import UserError, printable
from diffwave_jax.files import complete

FULL_SCALE = 32768  # of PCM16: -1 to 1 - 1 / FULL_SCALE
NORMALIZED_PEAK = 0.95
RIFF = struct.Struct("<4sI4s")  # how a WAV file begins: "RIFF", the bytes after these 8, "WAVE"
SPARE_SECONDS = 60.0  # of a recording that are read beyond what a model takes

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class WavClip:
    """A clip as it lies in a file.

    Attributes:
      path: the WAV file.
      audio: (L,) float32 in [-1, 1).
      sample_rate: samples per second.
      record: what made it, as written; empty if the file does not say.
    """

    path: Path
    audio: np.ndarray
    sample_rate: int
    record: dict


def to_pcm(audio: np.ndarray, *, normalize: bool = False) -> tuple[np.ndarray, int]:
    """Audio as 16-bit samples.

    Args:
      audio: (L,) float.
      normalize: scale it to a peak of 0.95; silence stays silent.

    Returns:
      (L,) int16 samples, and how many lay outside [-1, 1] and were clipped.

    Raises:
      UserError: samples that are not finite.
    """
    if not np.all(np.isfinite(audio)):
        raise UserError("the model made samples that are not finite: its training diverged; take an older checkpoint")
    peak = np.max(np.abs(audio), initial=0.0)
    if normalize and peak > 0:
        audio = audio * (NORMALIZED_PEAK / peak)
    clipped = int(np.sum(np.abs(audio) > 1))
    return np.clip(np.rint(audio * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16), clipped


def write(path: Path, samples: np.ndarray, sample_rate: int, record: Mapping) -> None:
    """Writes a WAV file with a record of what it is, as JSON in its comment; the file appears when complete.

    Args:
      path: the file; one that is there is replaced.
      samples: (L,) int16.
      sample_rate: in Hz.
      record: how the clip was made; what JSON can hold.

    Raises:
      UserError: the file cannot be written.
    """
    contents = io.BytesIO()  # libsndfile itself does not tell of every byte that a full disk refuses
    with soundfile.SoundFile(contents, "w", sample_rate, 1, subtype="PCM_16", format="WAV") as file:
        file.comment = json.dumps(record)
        file.write(samples)
    with complete(path) as partial:
        partial.write_bytes(contents.getvalue())


def read(path: Path) -> WavClip:
    """The clip in a WAV file that `write` wrote.

    Raises:
      UserError: the file is not a readable WAV.
    """
    with _opened(path) as file:
        return WavClip(path, file.read(dtype="float32"), file.samplerate, _record(file))


def read_record(path: Path) -> dict:
    """What made the clip in a file, without reading its audio.

    Raises:
      UserError: the file is not a readable WAV.
    """
    with _opened(path) as file:
        return _record(file)


def is_whole(path: Path) -> bool:
    """Whether a WAV file is as long as its header says."""
    with path.open("rb") as file:
        head = file.read(RIFF.size)
    return len(head) == RIFF.size and RIFF.unpack(head)[1] + 8 <= path.stat().st_size


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise UserError(f"{path} is a folder or a device, not a file: remove it, and it is made again")
    try:
        with soundfile.SoundFile(path) as file:
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path} cannot be read as audio ({error}): remove it, and it is made again") from error


def _record(file: soundfile.SoundFile) -> dict:
    try:
        record = json.loads(file.comment)
    except (ValueError, RecursionError):  # no JSON, or brackets without end
        return {}
    return record if isinstance(record, dict) else {}


def read_recording(path: Path, sample_rate: int, length: int) -> np.ndarray:
    """Any recording as a model takes it: mono, resampled, zero-padded at its end to (length,) float32.

    What is odd about the file, such as that its end is missing, is logged.

    Args:
      path: a WAV file, or any other that libsndfile or ffmpeg reads.
      sample_rate: the model's, in Hz.
      length: samples of the model's clips.

    Raises:
      UserError: it cannot be read, is empty, is longer than the model's clips, or has samples that are no numbers.
    """
    found = _found(path, length / sample_rate)
    mono = librosa.resample(found.samples, orig_sr=found.sample_rate, target_sr=sample_rate)
    if len(mono) > length:
        raise UserError(
            f"{path} lasts {_lasts(found, length / sample_rate)}; this model's clips last "
            f"{length / sample_rate:.2f} s: cut it"
        )
    return np.pad(mono, (0, length - len(mono)))


def read_prime(path: Path, sample_rate: int, length: int) -> np.ndarray:
    """A recording that clips of `length` samples are to begin with: mono, (P,) float32, P < length.

    Raises:
      UserError: it cannot be read, has another sample rate, or leaves nothing to add.
    """
    found = _found(path, length / sample_rate)
    if found.sample_rate != sample_rate:
        raise UserError(f"{path} has {found.sample_rate} samples a second; this model takes {sample_rate}: resample it")
    if len(found.samples) >= length:
        raise UserError(
            f"{path} lasts {_lasts(found, length / sample_rate)}, and the clips are to last "
            f"{length / sample_rate:.2f} s with it: cut it, or ask for longer ones"
        )
    return found.samples


def read_whole_recording(path: Path, sample_rate: int) -> np.ndarray:
    """Any recording, up to an hour of it, mono and resampled, (n,) float32; see `read_recording`."""
    found = _found(path, None)
    return librosa.resample(found.samples, orig_sr=found.sample_rate, target_sr=sample_rate)


def _found(path: Path, seconds: float | None) -> recording.Recording:
    """What a file holds of audio that should last no more than so many seconds; what is odd about it is logged."""
    try:
        found = recording.read(path, None if seconds is None else seconds + SPARE_SECONDS)
    except recording.CorruptClipError as error:
        raise UserError(f"{path} cannot be read as audio ({error}): give a WAV file") from error
    for remark in found.remarks:
        _log.warning(printable(f"{path} {remark}"))
    return found


def _lasts(found: recording.Recording, seconds: float) -> str:
    """How long a recording lasts, which was read for little more than `seconds`."""
    return f"{found.seconds:.2f} s" if found.seconds < seconds + SPARE_SECONDS - 1 else "over a minute"
