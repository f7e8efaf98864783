"""Every metric of a set of clips at once, with confidence intervals."""

import dataclasses
from collections.abc import Callable

import numpy as np

from diffwave_jax.errors import UserError
from diffwave_jax.evaluation import metrics, published
from diffwave_jax.evaluation.recognition import Recognition
from diffwave_jax.evaluation.reference import Reference

PROTOCOLS = ("definition", "published")
NUM_BINS = 50

Metric = Callable[[np.ndarray], float]
"""A metric of the clips of some rows, which the bootstrap draws."""


@dataclasses.dataclass(frozen=True)
class Score:
    """A metric's value and, where there is one, its 95 % bootstrap interval."""

    value: float
    interval: tuple[float, float] | None = None


class Scorer:
    """Compares sets of clips with the training split of a reference.

    Args:
      reference: real speech as the classifier hears it.
      protocol: "definition" for the metrics as the papers define them, or "published" for what the script behind the
        published figures computes.
      num_resamples: of the bootstrap; 0 for no intervals. The published protocol has none.
    """

    def __init__(self, reference: Reference, protocol: str = "definition", num_resamples: int = 200):
        if protocol not in PROTOCOLS:
            raise UserError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
        self._published = protocol == "published"
        self._num_resamples = 0 if self._published else num_resamples
        self._train = reference.train.recognition
        self._gaussian = metrics.Gaussian.fit("reference features", self._train.features)
        self._bins = metrics.StatisticalBins(self._train.features, min(NUM_BINS, len(self._train.features)))

    def __call__(self, heard: Recognition, labels: np.ndarray | None = None) -> dict[str, Score]:
        """The scores by name: fid, is, mis, am, ndb (a fraction of the bins), nearest, and with labels accuracy.

        "nearest" is the mean distance of the features to the nearest training clip's, which is small for copies. With
        labels, the intervals are those of clips of which as many were asked for of each class.
        """
        functions = self._published_metrics(heard) if self._published else self._metrics(heard)
        nearest = metrics.nearest_distance(heard.features, self._train.features)
        functions["nearest"] = lambda rows: nearest[rows].mean()
        if labels is not None:
            right = heard.logits.argmax(axis=1) == labels
            functions["accuracy"] = lambda rows: right[rows].mean()
        return {name: self._score(function, len(heard.features), labels) for name, function in functions.items()}

    def training(self, labels: np.ndarray) -> dict[str, Score]:
        """The scores of the training split itself, whose distances to itself are 0; `labels` are its classes."""
        functions = self._published_metrics(self._train) if self._published else self._metrics(self._train)
        rows = np.arange(len(labels))
        scores = {name: Score(functions[name](rows)) for name in ("is", "mis", "am")}
        accuracy = Score(metrics.class_accuracy(self._train.probabilities, labels))
        return {"fid": Score(0.0), **scores, "ndb": Score(0.0), "accuracy": accuracy}

    def _metrics(self, heard: Recognition) -> dict[str, Metric]:
        features, probabilities = heard.features, heard.probabilities
        cells, train_probabilities = self._bins.assign(features), self._train.probabilities.mean(axis=0, keepdims=True)
        return {
            "fid": lambda rows: metrics.frechet_distance(features[rows], self._gaussian),
            "is": lambda rows: metrics.inception_score(probabilities[rows]),
            "mis": lambda rows: metrics.modified_inception_score(probabilities[rows]),
            "am": lambda rows: metrics.am_score(probabilities[rows], train_probabilities),
            "ndb": lambda rows: self._bins.count_different(cells[rows]) / len(self._bins.counts),
        }

    def _published_metrics(self, heard: Recognition) -> dict[str, Metric]:
        functions = self._metrics(heard)
        features, probabilities = heard.features, heard.probabilities
        functions["fid"] = lambda rows: published.frechet_distance(features[rows], self._train.features)
        functions["is"] = lambda rows: published.inception_score(probabilities[rows])
        functions["mis"] = lambda rows: published.modified_inception_score(probabilities[rows])
        return functions

    def _score(self, function: Metric, num_clips: int, groups: np.ndarray | None) -> Score:
        value = float(function(np.arange(num_clips)))
        if not self._num_resamples or num_clips < 2:
            return Score(value)
        interval = metrics.confidence_interval(function, num_clips, groups=groups, num_resamples=self._num_resamples)
        return Score(value, interval)
