"""The one reader of audio that other people made: for the data pipeline, the evaluation and denoising.

A file is looked at before it is trusted, and no more is decoded than is wanted. What is there is read; what is missing,
or had to be scaled, is told beside the samples.
"""

import dataclasses
import io
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

RATES = (1_000, 1_000_000)  # Hz, the range of what is taken for audio
MOST_SECONDS = 3600  # of a file are looked at,
MOST_FRAMES = 2**26  # and no more frames than these, 23 minutes at 48 kHz
BLOCK = 2**20  # samples decoded at once
# libsndfile reads a shortened file without complaint; only its log tells.
SHORTENED = re.compile(r"^\s*(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# A length of about this many bytes or more is what programs write that do not know it yet; others write 0.
LENGTH_UNKNOWN = 2**31 - 2**16
UNKNOWN_LENGTH_LIMIT = 2**28  # bytes read of a file whose header says 0
FLOATS = ("FLOAT", "DOUBLE")
# Float samples beyond this, 48 dB above full scale, are in the range of integers: of 16, 24 or 32 bits.
CLEARLY_INTEGERS = 256.0
INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)
INT16_SCALE = np.float32(2**-15)


class CorruptClipError(Exception):
    """A file that cannot be read as audio, or holds nothing to use."""


class UnknownFormatError(CorruptClipError):
    """A file that libsndfile does not recognise."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """What a file holds.

    Attributes:
      samples: (n,) float32, mono, with n > 0, all finite; full scale is 1, though float files may go beyond.
      sample_rate: in Hz.
      remarks: what is worth telling about the file, such as that its end is missing.
    """

    samples: np.ndarray
    sample_rate: int
    remarks: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.sample_rate


def read(path: Path, seconds: float | None = None) -> Recording:
    """Reads an audio file, mixed down to mono.

    Args:
      path: the file, in any format that libsndfile knows, or ffmpeg where it is installed.
      seconds: how much of its beginning is wanted; None for all of it, which is at most an hour.

    Raises:
      CorruptClipError: it is no file, no audio, damaged, empty, or of a sample rate that no audio has; or some samples
        are not finite.
    """
    _check_regular(path)
    try:
        return _read_with_libsndfile(path, seconds)
    except UnknownFormatError:
        return _read_with_audioread(path, seconds)
    except MemoryError as error:
        raise CorruptClipError("is larger than the memory") from error


def _check_regular(path: Path) -> None:
    """A FIFO or a device would be waited for without end."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise CorruptClipError(getattr(error, "strerror", None) or str(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise CorruptClipError("is no regular file")
    if not status.st_size:
        raise CorruptClipError("is empty")


def _read_with_libsndfile(path: Path, seconds: float | None) -> Recording:
    with _opened(path) as file:
        frames, limited = _frames(seconds, file.samplerate)
        whole = min(frames, file.frames)
        blocks = _blocks(file, frames)
        try:
            samples, peak = _mixed_down(blocks)
            scale = _full_scale(file, peak)
        except soundfile.SoundFileError as error:
            raise CorruptClipError(_reason(error)) from error
        remarks = [*_shortfall(file, len(samples), whole), *_scaling(scale, peak)]
        if limited and file.frames > frames:
            remarks.append(f"only its first {frames / file.samplerate:.0f} seconds are read")
        samples = _checked(samples) if scale == 1 else _checked(samples) / np.float32(scale)
        return Recording(samples, file.samplerate, tuple(remarks))


def _opened(path: Path) -> soundfile.SoundFile:
    name = os.fsencode(path) if os.name == "posix" else path  # bytes: the name may not be UTF-8
    try:
        file = soundfile.SoundFile(name)  # pyright: ignore[reportArgumentType] - bytes are taken too
        if file.format in ("WAV", "WAVEX") and file.frames == 0:
            return soundfile.SoundFile(_with_length(path))
        return file
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise UnknownFormatError(_reason(error)) from error


def _with_length(path: Path) -> io.BytesIO:
    """A WAV file's content in which a length of 0, written before the samples were, means all that is there."""
    with path.open("rb") as file:
        content = bytearray(file.read(UNKNOWN_LENGTH_LIMIT))
    at = 12
    while 0 < at < len(content) - 8:
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == b"data":
            content[at + 4 : at + 8] = b"\xff\xff\xff\xff"
            break
        at += 8 + size + size % 2
    return io.BytesIO(content)


def _frames(seconds: float | None, rate: int) -> tuple[int, bool]:
    """How many frames to read, and whether they may be fewer than were asked for."""
    if not RATES[0] <= rate <= RATES[1]:
        raise CorruptClipError(f"claims a sample rate of {rate} Hz; audio has {RATES[0]} to {RATES[1]}")
    most = min(MOST_FRAMES, MOST_SECONDS * rate)
    wanted = most if seconds is None else int(seconds * rate)
    return min(wanted, most), seconds is None or wanted > most


def _blocks(file: soundfile.SoundFile, frames: int) -> Iterator[np.ndarray]:
    """The next `frames` frames, `(n, channels)` float32 at a time: a header's word is no reason to allocate memory."""
    size = max(BLOCK // file.channels, 1)
    dtype = "int16" if file.subtype == "PCM_16" else "float32"  # NumPy makes floats faster than libsndfile, the same
    while frames > 0:
        block = file.read(min(size, frames), dtype=dtype, always_2d=True)
        if len(block):
            yield block if dtype == "float32" else block * INT16_SCALE
        if len(block) < min(size, frames):
            return
        frames -= len(block)


def _mixed_down(blocks: Iterator[np.ndarray]) -> tuple[np.ndarray, float]:
    """Mono samples `(n,)`, and the peak of any channel."""
    peak, mono = 0.0, []
    for block in blocks:
        peak = max(peak, float(block.max()), float(-block.min()))
        mono.append(block.mean(axis=1) if block.shape[1] > 1 else block[:, 0])
    return mono[0] if len(mono) == 1 else np.concatenate(mono or [np.zeros(0, np.float32)]), peak


def _full_scale(file: soundfile.SoundFile, peak: float) -> float:
    """What counts as 1 in a file whose samples so far reach `peak`: 1, or an integers' range that it is clearly in."""
    if file.subtype not in FLOATS or not 1 <= peak < np.inf:
        return 1.0
    rest = (float(np.abs(block).max()) for block in _blocks(file, MOST_FRAMES))
    peak = max(peak, *rest, 0.0)
    if peak <= CLEARLY_INTEGERS:
        return 1.0
    return next((scale for scale in INTEGER_SCALES if peak <= scale), 1.0)


def _checked(samples: np.ndarray) -> np.ndarray:
    """Returns `samples (n,)`, or raises `CorruptClipError` where there are none or some are not finite."""
    if not samples.size:
        raise CorruptClipError("holds no samples")
    if not np.isfinite(samples).all():
        raise CorruptClipError("holds samples that are not finite")
    return samples


def _shortfall(file: soundfile.SoundFile, found: int, claimed: int) -> Iterator[str]:
    """What the header claims and the file does not hold."""
    shortened = SHORTENED.search(file.extra_info)
    declared, there = map(int, shortened.groups()) if shortened else (0, 0)
    if there < declared < LENGTH_UNKNOWN:
        yield f"ends after {there} of {declared} bytes of audio"
    elif found < claimed:
        yield f"ends after {found} of {claimed} samples"


def _scaling(scale: float, peak: float) -> Iterator[str]:
    if scale != 1:
        yield f"holds float samples in the range of integers (up to {peak:g}), which are divided by {scale:.0f}"


def _read_with_audioread(path: Path, seconds: float | None) -> Recording:
    """For what libsndfile does not know: audioread asks ffmpeg or the system's codecs."""
    import audioread  # which few recordings need

    try:
        with audioread.audio_open(str(path)) as file:
            frames, _ = _frames(seconds, file.samplerate)
            channels = file.channels
            content = _first_bytes(file, 2 * channels * frames)
            samples = np.frombuffer(content, "<i2").astype(np.float32) / np.float32(2**15)
            samples = samples[: len(samples) // channels * channels].reshape(-1, channels).mean(axis=1)
            return Recording(_checked(samples), file.samplerate)
    except CorruptClipError:
        raise
    except Exception as error:  # the decoders for every format raise whatever occurs to them
        raise CorruptClipError("no decoder knows its format") from error


def _first_bytes(pieces: Iterator[bytes], size: int) -> bytes:
    content = bytearray()
    for piece in pieces:
        content += piece
        if len(content) >= size:
            break
    return bytes(content[:size])


def _reason(error: Exception) -> str:
    """Libsndfile's own words, without the path that the caller names anyway."""
    return getattr(error, "error_string", None) or str(error) or type(error).__name__
