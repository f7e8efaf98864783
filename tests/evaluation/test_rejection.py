"""Clips left out by likelihood."""

import numpy as np
import pytest

from diffwave_jax.errors import UserError
from diffwave_jax.evaluation.clips import Clips
from diffwave_jax.evaluation.rejection import LOWER, UPPER, reject, rejected


def test_the_best_pair_of_thresholds_is_found_on_one_half_and_applied_to_the_other():
    """Clips are good where their likelihood lies between the 20th and the 80th percentile."""
    likelihood = np.random.default_rng(1).permutation(1000).astype(float)
    seen = []

    def score(rows):
        seen.append(rows)
        good = (likelihood[rows] >= 200) & (likelihood[rows] < 800)
        return good.sum() - 3 * (~good).sum()

    kept = reject(likelihood, score)
    assert (kept.lower, kept.upper) == (0.2, 0.8)
    assert len(seen) == len(LOWER) * len(UPPER)
    chosen_on = np.unique(np.concatenate(seen))
    assert len(kept.rows) == 300 and not np.isin(kept.rows, chosen_on).any()
    # The two halves' percentiles are those of the whole to their sampling error, 1.3 % of 1000.
    assert likelihood[kept.rows].min() == pytest.approx(200, abs=40)
    assert likelihood[kept.rows].max() == pytest.approx(800, abs=40)


def test_the_last_pair_does_not_always_win():
    """Where rejection gains nothing, as much as the protocol allows is kept; the published script drops 45 %."""
    kept = reject(np.arange(100.0), len)
    assert (kept.lower, kept.upper, len(kept.rows)) == (0.0, 0.95, 48)


def test_clips_keep_what_belongs_to_them():
    audio = np.arange(40, dtype=np.float32)[:, None]
    clips = rejected(Clips(audio, log_likelihood=-np.arange(40.0)), lambda rows: float(len(rows)))
    assert clips.log_likelihood is not None
    np.testing.assert_array_equal(clips.audio[:, 0], -clips.log_likelihood)
    assert len(clips.audio) == 19 and "between 0% and 95%" in clips.remarks[0]


def test_bad_input():
    with pytest.raises(UserError, match="needs 20 clips or more, got 5"):
        reject(np.zeros(5), len)
    with pytest.raises(UserError, match="no numbers for some clips"):
        reject(np.full(30, np.nan), len)
    with pytest.raises(UserError, match="needs an autoregressive model"):
        rejected(Clips(np.zeros((30, 4), np.float32)), len)
