"""Keeps Orbax and its array library from printing pages about an error that they raise as well.

Orbax writes many arrays at once. Where one fails, it raises that error, logs it, and leaves the failures of the others
to the garbage collector, which tells them later, at any place of the program.
"""

import dataclasses
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARY = "orbax"
UNAWAITED = "coroutine 'async_serialize"  # Orbax's writers of one array; the warning names no module


def silence() -> None:
    """Silences them, and nobody else, for the rest of the process; may be called again."""
    logging.getLogger("absl").addFilter(_not_logged_by_library)
    logging.getLogger("asyncio").addFilter(_not_left_by_library)
    warnings.filterwarnings("ignore", UNAWAITED, RuntimeWarning)
    if not isinstance(sys.unraisablehook, _Hook):
        sys.unraisablehook = _Hook(sys.unraisablehook)


@dataclasses.dataclass(frozen=True)
class _Hook:
    """A `sys.unraisablehook` that passes over what native threads say once the loop that waited for them has failed."""

    hook: Callable

    def __call__(self, unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            self.hook(unraisable)


def _not_logged_by_library(record: logging.LogRecord) -> bool:
    return LIBRARY not in Path(record.pathname).parts


def _not_left_by_library(record: logging.LogRecord) -> bool:
    """Whether it is not an error that nobody waited for, of a checkpoint: its text has the file, which Orbax names."""
    text = record.getMessage()
    return "exception was never retrieved" not in text or LIBRARY not in text
