"""A run's curves, clips and spectrograms in TensorBoard."""

import io
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter

# protobuf makes these classes when the module is imported, where pyright cannot see them
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]

from diffwave_jax.files import make_folder, writing
from diffwave_jax.results.spectrogram import mel_png
from diffwave_jax.training.listener import Listener

# Values by the panel they belong to; whatever is not here comes under "train".
PANELS = {"learning_rate": "optimizer", "gradient_norm": "optimizer"}
SPEEDS = ("clips_per_second", "steps_per_second")


class TensorBoard(Listener):
    """Writes event files that continue those of the same run before it was stopped.

    Writes at once and in the caller's thread: tensorboardX's own SummaryWriter waits for ever once its thread has met
    a full disk. After a failure a new file is begun, since nobody reads past a half-written event.

    Args:
      folder: where the event files go.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: EventsWriter | None = None

    def step(self, step: int) -> None:
        """Opens the file at the first step; what a killed run logged after its last checkpoint is hidden."""
        if self._writer is None:
            start = Event(step=step + 1, session_log=SessionLog(status=SessionLog.START))
            self._write([Event(step=step + 1, file_version="brain.Event:2"), start])

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point on each curve."""
        self._write([_event(step, summary.scalar(_tag(name), value)) for name, value in values.items()])

    def clips(self, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """The clips to listen to, and as mel spectrograms."""
        events = []
        for number, clip in enumerate(audio):
            picture = np.asarray(Image.open(io.BytesIO(mel_png(clip, sample_rate))).convert("RGB"))
            sound = summary.audio(f"clips/{number}", np.clip(clip, -1, 1), sample_rate=sample_rate)
            image = summary.image(f"mel_spectrograms/{number}", picture, dataformats="HWC")
            events += [_event(step, sound), _event(step, image)]
        self._write(events)

    def end(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with writing(self._folder):
                writer.close()

    def _write(self, events: list[Event]) -> None:
        with writing(self._folder):
            writer, self._writer = self._writer or self._new_file(), None
            for event in events:
                event.wall_time = time.time()
                writer.write_event(event)
            writer.flush()
            self._writer = writer

    def _new_file(self) -> EventsWriter:
        make_folder(self._folder)
        return EventsWriter(str(self._folder / "events"), filename_suffix=f".{time.monotonic_ns()}")


def _event(step: int, value: summary.Summary) -> Event:
    return Event(step=step, summary=value)


def _tag(name: str) -> str:
    if name.startswith("validation_"):
        return f"validation/{name.removeprefix('validation_')}"
    return f"{'speed' if name in SPEEDS else PANELS.get(name, 'train')}/{name}"
