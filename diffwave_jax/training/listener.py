"""Whoever wants to hear how a run goes."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np

from diffwave_jax.errors import UserError, reason

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Is told of a run's progress; a class that inherits from it lets pass what it does not define."""

    def downloading(self, done: int, total: int | None) -> None:
        """So many bytes of the data are downloaded; the total is None where the server does not say."""

    def preparing(self, done: int, total: int) -> None:
        """So many clips of the data set are prepared."""

    def message(self, text: str) -> None:
        """One line worth reading."""

    def step(self, step: int) -> None:
        """Step number `step` is done; called with the last step of before when a run continues."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """What was measured up to this step, losses among it, by name."""

    def clips(self, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Clips (n, L) that the model generates after this step."""

    def end(self) -> None:
        """The run is over, well or not."""


class Listeners(Listener):
    """Tells several listeners; what fails in one of them neither ends the run nor keeps the others from hearing.

    The first failure of each is told as a message. It goes on being told of the run: a disk may have room again.

    Args:
      listeners: those to tell.
    """

    def __init__(self, listeners: Iterable[Listener]):
        self._listeners = tuple(listeners)
        self._failed: set[int] = set()

    def downloading(self, done: int, total: int | None) -> None:
        """Tells all."""
        self._tell(lambda listener: listener.downloading(done, total))

    def preparing(self, done: int, total: int) -> None:
        """Tells all."""
        self._tell(lambda listener: listener.preparing(done, total))

    def message(self, text: str) -> None:
        """Tells all."""
        self._tell(lambda listener: listener.message(text))

    def step(self, step: int) -> None:
        """Tells all."""
        self._tell(lambda listener: listener.step(step))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Tells all."""
        self._tell(lambda listener: listener.scalars(step, values))

    def clips(self, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Tells all."""
        self._tell(lambda listener: listener.clips(step, audio, sample_rate))

    def end(self) -> None:
        """Tells all."""
        self._tell(lambda listener: listener.end())

    def _tell(self, call: Callable[[Listener], None]) -> None:
        for number, listener in enumerate(self._listeners):
            try:
                call(listener)
            except Exception as error:
                if number not in self._failed:
                    self._failed.add(number)
                    self._report(listener, error)

    def _report(self, listener: Listener, error: Exception) -> None:
        ours = not isinstance(error, OSError | UserError)  # a bug, whose place is of interest
        if ours:
            _log.warning("a listener failed", exc_info=error)
        self.message(f"{type(listener).__name__} failed and may miss what follows, training goes on: {reason(error)}")
