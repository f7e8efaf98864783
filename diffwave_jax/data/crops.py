"""What a vocoder is trained on: a part of a recording at random, and its mel spectrogram."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from diffwave_jax.data.audio import to_float
from diffwave_jax.data.dataset import Dataset
from diffwave_jax.errors import UserError
from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.mel import MelFrontEnd, read_array

SPARE_FRAMES = 2  # that a mel of other hands may have more or fewer than its recording


@dataclasses.dataclass(frozen=True, eq=False)
class Crops:
    """Parts of recordings with their mels.

    Attributes:
      dataset: recordings of any length (`data.whole`) or of one.
      front_end: makes the mels.
      length: samples of a part.
      of_recording: cut the mel out of the whole recording's, at frame boundaries (lmnt-com/diffwave), `length / hop`
        frames; else make it of the part alone (the authors' code), `1 + length // hop` frames.
      mels: a folder with another system's mel of each recording, `NAME.npy` for `NAME.wav`, to be cut out instead; None
        for none.
    """

    dataset: Dataset
    front_end: MelFrontEnd
    length: int
    of_recording: bool = False
    mels: Path | None = None

    def __post_init__(self):
        if self.at_frames and self.length % self.front_end.hop:
            raise UserError(
                f"data.length is {self.length}; parts cut at mel frames have a multiple of {self.front_end.hop} samples"
            )

    @classmethod
    def from_config(cls, config: ConfigDict, dataset: Dataset) -> "Crops | None":
        """What a config's vocoder is trained on; None for a model that is none."""
        if not getattr(config.model, "n_mels", 0):
            return None
        if config.data.shift or tuple(config.data.gain) != (1.0, 1.0):
            raise UserError("data.shift and data.gain would change audio after its mel: leave them out for a vocoder")
        mels = Path(config.data.mels).expanduser() if config.data.mels else None
        of_recording = config.data.mel_of == "recording"
        return cls(dataset, MelFrontEnd.from_config(config), config.data.length, of_recording, mels)

    @property
    def at_frames(self) -> bool:
        """Whether parts begin at frame boundaries."""
        return self.of_recording or self.mels is not None

    def read(self, indices: Sequence[int], seeds: Sequence[Sequence[int]]) -> dict:
        """Parts of some recordings, each where its seed says.

        Returns:
          `{"audio": float32 (n, length), "mel": float32 (n, frames, bands), "label": int32 (n,)}`.

        Raises:
          UserError: another system's mel is missing or does not fit.
        """
        recordings = self.dataset.recordings(indices)
        parts = [self._part(*one, np.random.default_rng(seed)) for one, seed in zip(recordings, seeds, strict=True)]
        audio, mels = (np.stack(column) for column in zip(*parts, strict=True))
        return {"audio": audio, "mel": mels, "label": np.zeros(len(parts), np.int32)}

    def _part(
        self, samples: np.ndarray, name: str, random: np.random.Generator
    ) -> tuple[Float32[np.ndarray, " length"], Float32[np.ndarray, "frames bands"]]:
        audio = to_float(np.pad(samples, (0, max(0, self.length - len(samples)))))
        if not self.at_frames:
            start = random.integers(len(audio) - self.length, endpoint=True)
            part = audio[start : start + self.length]
            return part, self.front_end(part).T
        hop = self.front_end.hop
        frames, wanted, given = len(audio) // hop, self.length // hop, self._given(name, len(samples))
        last = min(frames, frames if given is None else len(given)) - wanted
        first = int(random.integers(max(0, last), endpoint=True))
        part = audio[first * hop : first * hop + self.length]
        mel = self._within(audio, first, wanted) if given is None else given[first : first + wanted]
        silence = self.front_end.range[0]
        return part, np.pad(mel, ((0, wanted - len(mel)), (0, 0)), constant_values=silence)

    def _within(self, audio: np.ndarray, first: int, wanted: int) -> Float32[np.ndarray, "frames bands"]:
        """The whole recording's frames `first` and those after it, made of no more of it than they see."""
        hop = self.front_end.hop
        before = min(first, divide_up(self.front_end.n_fft, hop))
        end = (first + wanted) * hop + self.front_end.n_fft
        return self.front_end(audio[(first - before) * hop : end]).T[before : before + wanted]

    def _given(self, name: str, samples: int) -> Float32[np.ndarray, "frames bands"] | None:
        """Another system's mel of a recording."""
        if self.mels is None:
            return None
        path = self.mels / PurePosixPath(name).with_suffix(".npy")
        try:
            mel = read_array(path)
        except (OSError, ValueError) as error:
            raise UserError(f"data.mels: {path}, the mel of {name}, cannot be read as a NumPy array") from error
        try:
            mel = self.front_end.checked(mel)[0].T
        except UserError as error:
            raise UserError(f"data.mels: {path}: {error}") from error
        frames = 1 + samples // self.front_end.hop
        if abs(len(mel) - frames) > SPARE_FRAMES:
            hop = self.front_end.hop
            raise UserError(f"data.mels: {path} has {len(mel)} frames, but {name} lasts {frames} of {hop} samples each")
        return mel
