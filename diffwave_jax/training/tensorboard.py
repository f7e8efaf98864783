"""A run's curves, clips and spectrograms in TensorBoard."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import SummaryWriter

from diffwave_jax.files import make_folder
from diffwave_jax.results.spectrogram import mel_png
from diffwave_jax.training.listener import Listener

# Values by the panel they belong to; whatever is not here comes under "train".
PANELS = {"learning_rate": "optimizer", "gradient_norm": "optimizer"}
SPEEDS = ("clips_per_second", "steps_per_second")


class TensorBoard(Listener):
    """Writes event files that continue those of the same run before it was stopped.

    Args:
      folder: where the event files go.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: SummaryWriter | None = None

    def step(self, step: int) -> None:
        """Opens the file at the first step; what a killed run logged after its last checkpoint is hidden."""
        if self._writer is None:
            make_folder(self._folder)
            self._writer = SummaryWriter(str(self._folder), purge_step=step + 1)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """One point on each curve."""
        for name, value in values.items():
            self._writer.add_scalar(_tag(name), value, step)
        self._writer.flush()

    def clips(self, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """The clips to listen to, and as mel spectrograms."""
        for number, clip in enumerate(audio):
            picture = np.asarray(Image.open(io.BytesIO(mel_png(clip, sample_rate))).convert("RGB"))
            self._writer.add_audio(f"clips/{number}", np.clip(clip, -1, 1), step, sample_rate=sample_rate)
            self._writer.add_image(f"mel_spectrograms/{number}", picture, step, dataformats="HWC")
        self._writer.flush()

    def end(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _tag(name: str) -> str:
    if name.startswith("validation_"):
        return f"validation/{name.removeprefix('validation_')}"
    return f"{'speed' if name in SPEEDS else PANELS.get(name, 'train')}/{name}"
