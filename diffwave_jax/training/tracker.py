"""A run's values and clips in Weights & Biases or trackio, which share an interface; neither need be installed."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

from diffwave_jax.errors import UserError
from diffwave_jax.training.listener import Listener

LIBRARIES = ("wandb", "trackio")
PROJECT = "diffwave_jax"


class Tracker(Listener):
    """Tells one of the libraries; it is the first step that opens the run there.

    Args:
      library: a name in `LIBRARIES`.
      name: of the run.
      config: the run's config as plain data, which the library shows.

    Raises:
      UserError: the library is not installed.
    """

    def __init__(self, library: str, name: str, config: Mapping[str, Any]):
        self._library = _imported(library)
        self._about = {"project": PROJECT, "name": name, "config": dict(config)}
        self._begun = False

    def step(self, step: int) -> None:
        """Opens the run."""
        if not self._begun:
            self._library.init(**self._about)
            self._begun = True

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point on each curve."""
        self._library.log(dict(values), step=step)

    def clips(self, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """The clips, to listen to."""
        sounds = {
            f"clip {number}": self._library.Audio(np.clip(clip, -1, 1), sample_rate=sample_rate)
            for number, clip in enumerate(audio)
        }
        self._library.log(sounds, step=step)

    def end(self) -> None:
        """Closes the run."""
        if self._begun:
            self._library.finish()
            self._begun = False


def _imported(library: str) -> ModuleType:
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise UserError(f"--report-to {library} needs the package {library}: pip install {library}") from error
