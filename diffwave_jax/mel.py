"""Mel spectrograms: the two front ends that public vocoders were trained with, and what is no mel of theirs.

They cannot be turned into each other: a vocoder has one, and is given no other.
"""

import dataclasses
import functools
import tokenize
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
from jaxtyping import Float, Float32, Float64
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError

FLOOR = 1e-5  # the smallest magnitude
BLOCK = 4096  # frames at a time
SLACK = 1e-3  # that a mel may lie outside its range: other programs round otherwise
REMEDY = "give this model's own mels, from `model.mel(audio, rate)`"


@dataclasses.dataclass(frozen=True)
class Kind:
    """One family of front ends.

    Attributes:
      words: what its values are.
      filters: options of `librosa.filters.mel`.
      scaled: divide magnitudes by the window's norm.
      compress: magnitudes to values.
      expand: values back to magnitudes, none below `FLOOR`.
      decibels: of a difference of 1 between values.
      lowest: the smallest value.
      highest: the largest value, None where the filters set it.
    """

    words: str
    filters: dict
    scaled: bool
    compress: Callable[[np.ndarray], np.ndarray]
    expand: Callable[[np.ndarray], np.ndarray]
    decibels: float
    lowest: float
    highest: float | None


def _decibels(magnitude: np.ndarray) -> np.ndarray:
    return np.clip((20 * np.log10(np.maximum(magnitude, FLOOR)) - 20 + 100) / 100, 0, 1)


def _from_decibels(values: np.ndarray) -> np.ndarray:
    return 10 ** ((100 * values - 100 + 20) / 20)


def _natural(magnitude: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(magnitude, FLOOR))


KINDS = {
    "lmnt": Kind("decibels from 0 to 1", {"htk": True, "norm": None}, True, _decibels, _from_decibels, 100.0, 0.0, 1.0),
    "tacotron": Kind("natural logarithms", {}, False, _natural, np.exp, 20 / np.log(10), float(np.log(FLOOR)), None),
}


@dataclasses.dataclass(frozen=True)
class MelFrontEnd:
    """From audio to the mel spectrograms of one vocoder.

    Frame i is centred on sample `i hop`; the ends are reflected.

    Attributes:
      kind: "lmnt" (lmnt-com/diffwave: HTK bands without area norm, decibels, 0 to 1) or "tacotron" (NVIDIA/tacotron2:
        Slaney's bands, natural logarithms).
      sample_rate: of the audio, Hz.
      n_mels: bands.
      n_fft: length of the transform.
      hop: samples between frames.
      window: samples of each frame, a Hann window.
      fmin, fmax: the bands' ends, Hz; fmax 0 for half the sample rate.
    """

    kind: str
    sample_rate: int = 22050
    n_mels: int = 80
    n_fft: int = 1024
    hop: int = 256
    window: int = 1024
    fmin: float = 0.0
    fmax: float = 8000.0

    def __post_init__(self):
        if self.kind not in KINDS:
            raise UserError(f"mel.kind is {self.kind!r}; a vocoder's is one of {', '.join(KINDS)}")
        if self.window > self.n_fft:
            raise UserError(f"mel.window is {self.window}, longer than mel.n_fft, {self.n_fft}")
        if not self.fmin < self.top <= self.sample_rate / 2:
            ends = f"mel.fmin {self.fmin:g} and mel.fmax {self.fmax:g} Hz"
            raise UserError(f"{ends} do not lie in order below half the sample rate of {self.sample_rate} Hz")

    @classmethod
    def from_config(cls, config: ConfigDict) -> "MelFrontEnd":
        """That of a config's model; UserError where it has none or an impossible one."""
        return cls(sample_rate=config.data.sample_rate, n_mels=config.model.n_mels, **config.mel)

    @property
    def top(self) -> float:
        """The upper end of the bands, Hz."""
        return self.fmax or self.sample_rate / 2

    def __call__(self, audio: Float[np.ndarray, "*clips samples"]) -> Float32[np.ndarray, "*clips bands frames"]:
        """Mel spectrograms (..., bands, 1 + n // hop) of audio (..., n), -1 to 1, computed in float64.

        Raises:
          UserError: no samples, or some that are no finite numbers.
        """
        audio = np.asarray(audio, np.float64)
        if not audio.size or not np.all(np.isfinite(audio)):
            raise UserError("a mel spectrogram needs at least one sample, and all of them finite numbers")
        if self.kind == "lmnt":
            audio = np.clip(audio, -1, 1)
        frames = 1 + audio.shape[-1] // self.hop
        ends = [(0, 0)] * (audio.ndim - 1)
        padded = np.pad(audio, [*ends, (self.n_fft // 2, self.n_fft - self.n_fft // 2)], mode="reflect")
        starts = range(0, frames, BLOCK)
        blocks = [self._block(padded, start, min(BLOCK, frames - start)) for start in starts]
        return np.concatenate(blocks, axis=-1).astype(np.float32)

    def _block(self, padded: np.ndarray, start: int, frames: int) -> Float64[np.ndarray, "*clips bands frames"]:
        samples = padded[..., start * self.hop : (start + frames - 1) * self.hop + self.n_fft]
        spectrum = librosa.stft(
            samples, n_fft=self.n_fft, hop_length=self.hop, win_length=self.window, center=False, dtype=np.complex128
        )
        return self.of_magnitudes(np.abs(spectrum))

    def griffin_lim(
        self, mel: Float[np.ndarray, "bands frames"], samples: int, iterations: int = 60
    ) -> Float32[np.ndarray, " {samples}"]:
        """Audio of a mel by Griffin and Lim's method (1984): what can be had without a network.

        Args:
          mel: (bands, frames), of this front end.
          samples: how many are wanted.
          iterations: of the method, with librosa's momentum.
        """
        audio = librosa.griffinlim(
            librosa.util.nnls(self.filters, self.magnitudes(mel)),
            n_iter=iterations,
            hop_length=self.hop,
            win_length=self.window,
            n_fft=self.n_fft,
            length=samples,
            random_state=0,
        )
        return audio.astype(np.float32)

    def of_magnitudes(
        self, magnitude: Float[np.ndarray, "*clips bins frames"]
    ) -> Float[np.ndarray, "*clips bands frames"]:
        """The mel of the magnitudes of a transform (n_fft // 2 + 1 bins)."""
        return KINDS[self.kind].compress(self.filters @ (magnitude / self._norm))

    def magnitudes(self, mel: Float[np.ndarray, "*clips bands frames"]) -> Float64[np.ndarray, "*clips bands frames"]:
        """What each band of a mel amounts to: the sum of the transform's magnitudes, by the weights of `filters`."""
        return KINDS[self.kind].expand(np.asarray(mel, np.float64)) * self._norm

    def distance(self, first: Float[np.ndarray, "bands frames"], second: Float[np.ndarray, "bands frames"]) -> float:
        """The mean absolute difference of two mels of this front end, dB."""
        return KINDS[self.kind].decibels * float(np.mean(np.abs(first - second)))

    @property
    def _norm(self) -> float:
        return float(np.sqrt(np.sum(np.square(self._window)))) if KINDS[self.kind].scaled else 1.0

    @property
    def _window(self) -> Float64[np.ndarray, " window"]:
        return librosa.filters.get_window("hann", self.window)

    @functools.cached_property
    def filters(self) -> Float64[np.ndarray, "bands bins"]:
        """The bands' weights (bands, n_fft // 2 + 1)."""
        return librosa.filters.mel(
            sr=self.sample_rate,
            n_fft=self.n_fft,
            n_mels=self.n_mels,
            fmin=self.fmin,
            fmax=self.top,
            dtype=np.float64,  # pyright: ignore[reportArgumentType] - a type is taken too
            **KINDS[self.kind].filters,
        )

    @functools.cached_property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that audio of full scale can give."""
        kind = KINDS[self.kind]
        if kind.highest is not None:
            return kind.lowest, kind.highest
        return kind.lowest, float(np.log(np.sum(self._window) * np.max(np.sum(self.filters, axis=1))))

    @property
    def words(self) -> str:
        """It in words, for messages."""
        ends = f"{self.n_mels} bands from {self.fmin:g} to {self.top:g} Hz, a frame each {self.hop} samples"
        return f"{self.kind} ({KINDS[self.kind].words}; {ends} at {self.sample_rate} Hz)"

    def checked(self, mel: np.ndarray) -> Float32[np.ndarray, "clips bands frames"]:
        """A mel (n, bands, frames), or one (bands, frames), as float32 (n, bands, frames).

        Raises:
          UserError: it is none of this front end.
        """
        array = np.asarray(mel)
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise UserError(f"a mel spectrogram holds real numbers; got {array.dtype}")
        array = array[None] if array.ndim == 2 else array
        if array.ndim != 3 or array.shape[1] != self.n_mels or not array.size:
            turned = ": transpose it" if array.ndim == 3 and array.shape[2] == self.n_mels else ""
            raise UserError(
                f"this vocoder takes mels ({self.n_mels}, frames) or (n, {self.n_mels}, frames); got "
                f"{np.shape(mel)}{turned}"
            )
        self._check_values(array)
        return array.astype(np.float32)

    def _check_values(self, array: np.ndarray) -> None:
        if not np.all(np.isfinite(array)):
            raise UserError(f"{np.sum(~np.isfinite(array))} values of the mel are not finite numbers; {REMEDY}")
        (low, high), least, most = self.range, float(array.min()), float(array.max())
        if least < low - SLACK or most > high + SLACK:
            raise UserError(
                f"the mel's values lie between {least:.3g} and {most:.3g}, those of this vocoder's mels between "
                f"{low:.3g} and {high:.3g}: it wants {self.words}; {REMEDY}"
            )
        if self.kind == "tacotron" and (why := _looks_otherwise(array)):
            raise UserError(f"the mel {why}: this vocoder wants {self.words}; {REMEDY}")


def read_array(path: Path) -> np.ndarray:
    """The array in a `.npy` file.

    Raises:
      OSError, ValueError: it is no regular file, no such file or damaged, or claims more than the memory.
    """
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("it is no regular file")
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (EOFError, MemoryError, SyntaxError, tokenize.TokenError) as error:
        raise ValueError(str(error)) from error


def _looks_otherwise(array: np.ndarray) -> str:
    """What else a mel seems to be whose values lie in the range of natural logarithms; empty for nothing."""
    if array.min() >= 0 and array.max() <= 1:
        return "lies between 0 and 1, as lmnt's do"
    lowest = array == array.min()
    if abs(array.min() - np.log10(FLOOR)) < SLACK and np.mean(lowest) > SLACK:
        return f"ends at {np.log10(FLOOR):g}, as decimal logarithms do"
    return ""
