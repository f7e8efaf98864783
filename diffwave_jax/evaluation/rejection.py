"""Rejection by likelihood: the clips that a model finds least and most probable are left out of an evaluation.

The protocol of Goel et al. (arXiv 2202.09729, section 4.2) sorts clips by likelihood, chooses two thresholds by the
inception score of one half of them, and scores the other half between these. The published script never updates its
best score, so that its last pair, (0.4, 0.95), always wins; here the best pair does.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from diffwave_jax.errors import UserError
from diffwave_jax.evaluation.clips import Clips

LOWER = (0.0, 0.1, 0.2, 0.3, 0.4)
UPPER = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
FEWEST = 20  # clips, so that every pair of thresholds keeps some of each half


class Kept(NamedTuple):
    """What rejection leaves.

    Attributes:
      lower, upper: the shares of a half, in the order of likelihood, between which clips are kept.
      rows: (K,) the kept clips of the half that the thresholds were not chosen on, in their order.
    """

    lower: float
    upper: float
    rows: np.ndarray


def reject(log_likelihood: np.ndarray, score: Callable[[np.ndarray], float], seed: int = 0) -> Kept:
    """Chooses the thresholds on a random half of the clips, and the clips between them of the other half.

    Args:
      log_likelihood: (N,) of each clip, in any unit.
      score: of the clips of some rows, higher for better ones; the papers take the inception score.
      seed: of the halves.

    Raises:
      UserError: too few clips, or a likelihood that is not finite.
    """
    count = len(log_likelihood)
    if count < FEWEST:
        raise UserError(f"rejection needs {FEWEST} clips or more, got {count}")
    if not np.all(np.isfinite(log_likelihood)):
        raise UserError("rejection needs finite likelihoods: the model gives no numbers for some clips")
    mixed = np.random.default_rng(seed).permutation(count)
    chosen_on, kept_of = (
        half[np.argsort(log_likelihood[half], kind="stable")] for half in np.split(mixed, [count // 2])
    )
    pairs = list(itertools.product(LOWER, UPPER))
    scores = [score(_between(chosen_on, *pair)) for pair in pairs]
    lower, upper = pairs[int(np.argmax(scores))]
    return Kept(lower, upper, np.sort(_between(kept_of, lower, upper)))


def rejected(clips: Clips, score: Callable[[np.ndarray], float]) -> Clips:
    """The clips that `reject` keeps by their likelihood, with a remark that says so.

    Raises:
      UserError: see `reject`; or the clips have no likelihood.
    """
    if clips.log_likelihood is None:
        raise UserError("rejection needs an autoregressive model, which says how probable its clips are")
    kept = reject(clips.log_likelihood, score)
    remark = (
        f"rejection by likelihood: of one half of {len(clips.audio)} clips those between {kept.lower:.0%} and "
        f"{kept.upper:.0%}, the shares of the best inception score of the other half; the least probable come first"
    )
    return dataclasses.replace(
        clips,
        audio=clips.audio[kept.rows],
        log_likelihood=clips.log_likelihood[kept.rows],
        remarks=(*clips.remarks, remark),
    )


def _between(rows: np.ndarray, lower: float, upper: float) -> np.ndarray:
    return rows[round(lower * len(rows)) : round(upper * len(rows))]
