"""Whoever wants to hear how a run goes."""

import numpy as np


class Listener:
    """Told of a run's progress; by default it lets everything pass."""

    def downloading(self, done: int, total: int | None) -> None:
        """So many bytes of the data are downloaded; the total is None where the server does not say."""

    def preparing(self, done: int, total: int) -> None:
        """So many clips of the data set are prepared."""

    def message(self, text: str) -> None:
        """One line worth reading."""

    def step(self, step: int) -> None:
        """Step number `step` is done; called with the last step of before when a run continues."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """What was measured up to this step, by name."""

    def clips(self, step: int, audio: np.ndarray, sample_rate: int) -> None:
        """Clips (n, L) that the model generates after this step."""

    def end(self) -> None:
        """The run is over, well or not."""
