"""Leaving cleanly: SIGTERM and Ctrl-C become a flag that the training loop looks at between steps."""

import signal
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils


class StopRequest:
    """A context in which the first SIGTERM or SIGINT is noted instead of ending the process; a second one ends it."""

    def __init__(self):
        self._name = ""
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._name = signal.Signals(number).name
        signal.signal(number, self._before[number])

    def asked(self) -> str:
        """The signal's name once every process can stop at this same step, else "".

        With many processes all of them must call this at the same steps: one that was asked stops them all.
        """
        if jax.process_count() == 1:
            return self._name
        anyone = np.any(multihost_utils.process_allgather(np.asarray(bool(self._name))))
        return (self._name or "a signal to another process") if anyone else ""
