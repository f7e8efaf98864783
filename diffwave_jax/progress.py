"""Progress for people: a bar in a terminal or a notebook, a plain line now and then in a log."""

import sys
import time
from typing import Any, Self

from tqdm.auto import tqdm

NOTEBOOK = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
CLIPS = "{n:.1f}/{total} clips, {rate_noinv_fmt},"  # the numbers of a bar that counts clips
PAUSE = 30.0  # seconds between the lines of a log

_REST = " {remaining} left"


class Bar:
    """What is done at the moment and how far it is; nothing is shown until there is something to show.

    Args:
      shape: numbers to show, as tqdm's `bar_format`: "{n:.1f}/{total} clips, {rate_noinv_fmt},".
      **options: more of tqdm's options, such as its `unit`.
    """

    def __init__(self, shape: str, **options: Any):
        self._shape, self._options = shape + _REST, options
        self._bar: tqdm | None = None
        self._status: tqdm | None = None
        self._started = self._told = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the bar as it is, if there is one; `show` would start another."""
        self._end_status()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._started = 0.0

    def doing(self, what: str) -> None:
        """Says what comes now, in words: beside the bar that is on the way, else on a line that goes away again."""
        if not _live():
            print(what, file=sys.stderr, flush=True)
        elif self._bar is not None and not _complete(self._bar):
            self._bar.set_description_str(f"{what}: ")
        else:
            self.close()
            self._status = tqdm(bar_format="{desc}", leave=False, dynamic_ncols=True)
            self._status.set_description_str(what)

    def show(self, done: float, total: float | None) -> None:
        """Moves the bar to `done` of `total`; None where nobody knows the total."""
        if not _live():
            self._line(done, total)
            return
        self._end_status()
        if self._bar is None:
            shape = "{desc}{percentage:3.0f}%|{bar}| " + self._shape if total else None
            self._bar = tqdm(total=total, bar_format=shape, dynamic_ncols=True, **self._options)
        if self._bar.desc:
            self._bar.set_description_str("")
        self._bar.update(done - self._bar.n)

    def _line(self, done: float, total: float | None) -> None:
        now = time.monotonic()
        if not self._started:
            self._started = self._told = now
        if now - self._told < PAUSE and (total is None or done < total):
            return
        self._told = now
        text = tqdm.format_meter(
            done, total or 0, now - self._started, bar_format=self._shape if total else None, **_format(self._options)
        )
        print(text.strip(), file=sys.stderr, flush=True)

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.close()
            self._status = None


def _live() -> bool:
    """Whether what is shown can change in place."""
    return NOTEBOOK or sys.stderr.isatty()


def _complete(bar: tqdm) -> bool:
    return bar.total is not None and bar.n >= bar.total


def _format(options: dict[str, Any]) -> dict[str, Any]:
    """Those of tqdm's options that its text takes too."""
    return {name: value for name, value in options.items() if name in ("unit", "unit_scale")}
