"""Means and speed of the steps between two looks at them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from diffwave_jax.training.tasks import Metrics


class Meter:
    """Adds up the metrics of steps and clocks them.

    Args:
      batch_size: clips a step.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._metrics: list[Metrics] = []
        self._timed_steps = 0
        self._since: float | None = None  # runs from the end of the first step, which compiles

    def add(self, metrics: Metrics) -> None:
        """One more step is done."""
        self._metrics.append(metrics)
        if self._since is None:
            self._since = time.monotonic()
        else:
            self._timed_steps += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in this context is not the steps'."""
        start = time.monotonic()
        yield
        if self._since is not None:
            self._since += time.monotonic() - start

    def read(self) -> dict[str, float]:
        """Means since the last call, with the speed where there is one to tell."""
        values = means(self._metrics)
        now = time.monotonic()
        if self._since is not None and self._timed_steps:
            values["steps_per_second"] = self._timed_steps / (now - self._since)
            values["clips_per_second"] = values["steps_per_second"] * self._batch_size
        self._metrics, self._timed_steps, self._since = [], 0, now
        return values


def means(metrics: list[Metrics]) -> dict[str, float]:
    """Means of metrics given as pairs (sum, count) per batch; a metric without any count is left out."""
    fetched = jax.device_get(metrics)
    names = fetched[0] if fetched else ()
    totals = {name: np.sum([np.asarray(batch[name], np.float64) for batch in fetched], axis=0) for name in names}
    return {name: float(total / count) for name, (total, count) in totals.items() if count}


def finite(metrics: Metrics) -> bool:
    """Whether all of a step's metrics are finite, the gradient's norm among them: then so are its new weights."""
    return bool(np.all(np.isfinite([value for pair in jax.device_get(metrics).values() for value in pair])))
