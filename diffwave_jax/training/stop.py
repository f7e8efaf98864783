"""Leaving cleanly: SIGTERM and Ctrl-C become a flag that the training loop looks at between steps."""

import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """A context in which the first SIGTERM or SIGINT is noted instead of ending the process; a second one ends it.

    Outside the main thread, where Python delivers no signals, it notes none.

    Attributes:
      name: of the signal that came, else "".
    """

    def __init__(self):
        self.name = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        self._release()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.name = signal.Signals(number).name
        self._release()

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
