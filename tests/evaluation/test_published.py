import numpy as np
import pytest
from scipy import stats

from diffwave_jax.evaluation import metrics, published

RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet(np.full(10, 0.3), 300)


def test_frechet_distance_agrees_with_the_symmetric_one():
    first, second = RANDOM.standard_normal((200, 12)), RANDOM.standard_normal((300, 12)) @ np.diag(np.arange(1, 13))
    # 1e-6: what the product's square root loses.
    assert published.frechet_distance(first, second) == pytest.approx(metrics.frechet_distance(first, second), rel=1e-6)


def test_frechet_distance_of_a_singular_product_is_close_and_does_not_warn(recwarn):
    first, second = RANDOM.standard_normal((10, 12)), RANDOM.standard_normal((300, 12))
    # 0.05 of about 10: a root near singular, or the script's offset of 1e-4 on every axis.
    assert published.frechet_distance(first, second) == pytest.approx(metrics.frechet_distance(first, second), abs=0.05)
    assert not recwarn


def test_inception_score_takes_the_divergence_over_clips():
    order = np.random.RandomState(0).permutation(300)
    first, second = PROBABILITIES[order[:150]], PROBABILITIES[order[150:]]
    over_clips = stats.entropy(first, np.tile(second.mean(axis=0), (150, 1)))
    assert over_clips.shape == (10,)
    assert published.inception_score(PROBABILITIES) == pytest.approx(np.exp(over_clips.mean()), rel=1e-12)  # rounding


def test_inception_score_differs_from_the_definition():
    # Sure clips of one class: the definition sees no diversity, the script's axis no more of it than clips.
    unbalanced = 0.99 * np.eye(10)[RANDOM.integers(2, size=300)] + 0.001
    unbalanced /= unbalanced.sum(axis=1, keepdims=True)
    assert metrics.inception_score(unbalanced) == pytest.approx(2, abs=0.1)  # two sure classes
    assert published.inception_score(unbalanced) < 1.3


def test_modified_inception_score_is_the_mean_of_ten_thousand_pairs():
    random = np.random.RandomState(0)
    pairs = [random.choice(np.arange(300), size=2, replace=True) for _ in range(10_000)]
    divergence = np.mean([stats.entropy(*PROBABILITIES[pair]) for pair in pairs])
    expected = np.exp(divergence)
    assert published.modified_inception_score(PROBABILITIES) == pytest.approx(expected, rel=1e-9)  # rounding


def test_modified_inception_score_approaches_all_pairs():
    sampled = published.modified_inception_score(PROBABILITIES, num_pairs=2_000_000)
    # 2 %: the exponent's standard error is 0.3 %.
    assert sampled == pytest.approx(metrics.modified_inception_score(PROBABILITIES), rel=0.02)
