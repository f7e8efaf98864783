import numpy as np
import pytest
from scipy import linalg, stats
from sklearn.metrics import accuracy_score
from sklearn.neighbors import NearestNeighbors

from diffwave_jax.errors import UserError
from diffwave_jax.evaluation import metrics

RANDOM = np.random.default_rng(0)
ROUNDING = 1e-9  # float64 sums over at most a few thousand terms


def gaussian(mean, covariance, n=300):
    """Clips whose sample mean and covariance are exactly the given ones."""
    noise = np.random.default_rng(1).standard_normal((n, len(mean)))
    noise -= noise.mean(axis=0)
    white = noise @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(noise, rowvar=False)))).T
    return np.asarray(mean) + white @ np.linalg.cholesky(covariance).T


def probabilities(n=200, k=10, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.3), n)


class TestFrechetDistance:
    def test_one_dimension(self):
        first, second = gaussian([1.0], [[4.0]]), gaussian([3.0], [[9.0]])
        # (1 - 3)^2 + (2 - 3)^2
        assert metrics.frechet_distance(first, second) == pytest.approx(5.0, abs=ROUNDING)

    def test_commuting_covariances(self):
        first = gaussian([0, 0, 0], np.diag([1.0, 4.0, 9.0]))
        second = gaussian([1, 2, 2], np.diag([4.0, 4.0, 1.0]))
        # 9 + (1 - 2)^2 + 0 + (3 - 1)^2
        assert metrics.frechet_distance(first, second) == pytest.approx(14.0, abs=ROUNDING)

    def test_general_covariances_against_scipy(self):
        roots = RANDOM.standard_normal((2, 8, 8))
        first_covariance, second_covariance = roots @ np.swapaxes(roots, 1, 2)
        first, second = gaussian(np.zeros(8), first_covariance), gaussian(np.ones(8), second_covariance)
        root = linalg.sqrtm(first_covariance @ second_covariance).real
        expected = 8 + np.trace(first_covariance + second_covariance - 2 * root)
        # 1e-6: sqrtm of a product that is not symmetric is the less accurate of the two.
        assert metrics.frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)

    def test_is_symmetric_and_zero_for_equal_sets(self):
        first, second = RANDOM.standard_normal((50, 20)), RANDOM.standard_normal((70, 20)) + 0.3
        forward, backward = metrics.frechet_distance(first, second), metrics.frechet_distance(second, first)
        assert forward == pytest.approx(backward, abs=ROUNDING)
        assert metrics.frechet_distance(first, first[::-1]) == pytest.approx(0, abs=ROUNDING)

    def test_rotation_and_shift_of_both_sets_change_nothing(self):
        first, second = RANDOM.standard_normal((50, 6)), 2 * RANDOM.standard_normal((60, 6))
        rotation = linalg.qr(RANDOM.standard_normal((6, 6)))[0]
        moved = metrics.frechet_distance(first @ rotation + 5, second @ rotation + 5)
        assert moved == pytest.approx(metrics.frechet_distance(first, second), abs=1e-8)  # rounding about 5

    def test_fewer_clips_than_features_is_accurate(self):
        # Both sets lie in the same plane of a space of 64 dimensions: there the closed form is known.
        plane = linalg.qr(RANDOM.standard_normal((64, 2)), mode="economic")[0].T
        first = gaussian([0, 0], np.diag([1.0, 4.0]), n=20) @ plane
        second = gaussian([1, 0], np.diag([9.0, 4.0]), n=20) @ plane
        assert metrics.frechet_distance(first, second) == pytest.approx(5.0, abs=ROUNDING)

    def test_scale_of_features(self):
        first, second = RANDOM.standard_normal((50, 5)), RANDOM.standard_normal((50, 5)) + 1
        scaled = metrics.frechet_distance(1e6 * first, 1e6 * second)
        assert scaled == pytest.approx(1e12 * metrics.frechet_distance(first, second), rel=1e-8)  # rounding


class TestInceptionScore:
    def test_one_hot_balanced_gives_the_number_of_classes(self):
        assert metrics.inception_score(np.tile(np.eye(10), (3, 1))) == pytest.approx(10, abs=ROUNDING)

    def test_uniform_gives_one(self):
        assert metrics.inception_score(np.full((5, 10), 0.1)) == pytest.approx(1, abs=ROUNDING)

    def test_one_class_gives_one(self):
        assert metrics.inception_score(np.eye(10)[np.zeros(7, int)]) == pytest.approx(1, abs=ROUNDING)

    def test_two_sure_classes_of_unequal_share(self):
        shares = np.eye(4)[[0, 0, 0, 1]]
        assert metrics.inception_score(shares) == pytest.approx(np.exp(stats.entropy([0.75, 0.25])), abs=ROUNDING)

    def test_against_scipy(self):
        p = probabilities()
        expected = np.exp(np.mean([stats.entropy(row, p.mean(axis=0)) for row in p]))
        assert metrics.inception_score(p) == pytest.approx(expected, rel=ROUNDING)

    def test_order_of_clips_and_classes_changes_nothing(self):
        p = probabilities()
        shuffled = RANDOM.permutation(RANDOM.permutation(p, axis=0), axis=1)
        assert metrics.inception_score(shuffled) == pytest.approx(metrics.inception_score(p), rel=ROUNDING)


class TestModifiedInceptionScore:
    def test_against_all_pairs(self):
        p = probabilities(30)
        expected = np.exp(np.mean([stats.entropy(one, other) for one in p for other in p]))
        assert metrics.modified_inception_score(p) == pytest.approx(expected, rel=ROUNDING)

    def test_known_mixture(self):
        p = np.array([[0.9, 0.1], [0.1, 0.9]])
        # Half of the ordered pairs are of equal clips; the others' divergence is 0.8 log 9.
        assert metrics.modified_inception_score(p) == pytest.approx(9**0.4, rel=ROUNDING)

    def test_equal_clips_give_one(self):
        assert metrics.modified_inception_score(np.tile([[0.7, 0.2, 0.1]], (9, 1))) == pytest.approx(1, abs=ROUNDING)
        assert metrics.modified_inception_score(np.eye(3)[[1, 1, 1]]) == pytest.approx(1, abs=ROUNDING)

    def test_one_hot_of_different_classes_is_infinite(self):
        assert metrics.modified_inception_score(np.eye(3)) == np.inf


class TestAmScore:
    def test_sure_and_balanced_like_the_reference_gives_zero(self):
        assert metrics.am_score(np.eye(10), np.eye(10)) == pytest.approx(0, abs=ROUNDING)

    def test_uniform_gives_the_entropy(self):
        assert metrics.am_score(np.full((5, 10), 0.1), np.eye(10)) == pytest.approx(np.log(10), abs=ROUNDING)

    def test_unbalanced_sure_clips(self):
        generated = np.eye(2)[[0, 0, 0, 1]]
        expected = stats.entropy([0.5, 0.5], [0.75, 0.25])
        assert metrics.am_score(generated, np.eye(2)) == pytest.approx(expected, abs=ROUNDING)

    def test_against_scipy(self):
        p, reference = probabilities(), probabilities(seed=1)
        expected = stats.entropy(reference.mean(axis=0), p.mean(axis=0)) + np.mean(stats.entropy(p, axis=1))
        assert metrics.am_score(p, reference) == pytest.approx(expected, rel=ROUNDING)

    def test_missing_class_is_infinite(self):
        assert metrics.am_score(np.eye(3)[[0, 1]], np.eye(3)) == np.inf


class TestStatisticalBins:
    def reference(self):
        centres = 100 * RANDOM.standard_normal((50, 8))
        return np.repeat(centres, 40, axis=0) + RANDOM.standard_normal((2000, 8))

    def test_the_reference_itself_has_no_different_bin(self):
        reference = self.reference()
        bins = metrics.StatisticalBins(reference)
        assert bins.count_different(bins.assign(reference)) == 0

    def test_one_mode_only_differs_in_all_bins(self):
        reference = self.reference()
        bins = metrics.StatisticalBins(reference)
        assert bins.count_different(bins.assign(reference[:40].repeat(50, axis=0))) == 50

    def test_fresh_clips_differ_by_chance_only(self):
        reference = RANDOM.standard_normal((4000, 4))
        bins = metrics.StatisticalBins(reference)
        # 2.5 of 50 are expected at the 5 % level; 9 or more happen once in a thousand times.
        assert bins.count_different(bins.assign(RANDOM.standard_normal((1000, 4)))) < 9

    def test_z_test_against_chi_squared(self):
        bins = metrics.StatisticalBins(np.arange(20.0)[:, None], num_bins=2)
        for ones in range(1, 30):
            cells = np.array([0] * (30 - ones) + [1] * ones)
            table = np.array([np.bincount(cells, minlength=2), bins.counts])
            different = stats.chi2_contingency(table, correction=False).pvalue < 0.05
            assert bins.count_different(cells) == 2 * different  # of two shares, both differ or none


def test_class_accuracy_against_scikit_learn():
    p, labels = probabilities(), RANDOM.integers(10, size=200)
    assert metrics.class_accuracy(p, labels) == accuracy_score(labels, p.argmax(axis=1))


def test_nearest_distance_against_scikit_learn():
    generated, training = RANDOM.standard_normal((600, 7)), RANDOM.standard_normal((90, 7))
    expected = NearestNeighbors(n_neighbors=1).fit(training).kneighbors(generated)[0][:, 0]
    np.testing.assert_allclose(metrics.nearest_distance(generated, training), expected, rtol=ROUNDING)
    np.testing.assert_array_equal(metrics.nearest_distance(training, training), 0)


def test_within_class_diversity_is_the_mean_distance_of_pairs():
    features = np.array([[0.0], [2.0], [10.0], [16.0], [99.0]])
    # Two pairs, 2 and 6 apart; the lone clip of the third class has none.
    assert metrics.within_class_diversity(features, np.array([0, 0, 1, 1, 2])) == 4


class TestConfidenceInterval:
    def test_of_a_mean_is_the_normal_one(self):
        values = RANDOM.standard_normal(400)
        low, high = metrics.confidence_interval(lambda rows: values[rows].mean(), 400, num_resamples=2000)
        half = 1.96 * values.std() / 20
        # 8 %: five standard errors of a deviation estimated from 2,000 resamples.
        np.testing.assert_allclose([values.mean() - low, high - values.mean()], half, rtol=0.08)

    def test_of_a_fraction_against_scipy(self):
        right = np.arange(200) < 150
        found = metrics.confidence_interval(lambda rows: right[rows].mean(), 200, num_resamples=2000)
        expected = stats.binomtest(150, 200).proportion_ci(method="wilson")
        np.testing.assert_allclose(found, expected, atol=0.01)  # Wilson's interval is not symmetric

    def test_is_the_same_at_every_call(self):
        values = RANDOM.standard_normal(50)
        first, second = (metrics.confidence_interval(lambda rows: values[rows].mean(), 50) for _ in range(2))
        assert first == second

    def test_is_about_the_estimate_where_resampling_moves_the_metric(self):
        features, reference = RANDOM.standard_normal((200, 16)), RANDOM.standard_normal((5000, 16))
        low, high = metrics.confidence_interval(lambda rows: metrics.frechet_distance(features[rows], reference), 200)
        estimate = metrics.frechet_distance(features, reference)
        assert low < estimate < high and high - low < estimate

    def test_groups_keep_their_size(self):
        groups = np.arange(30) % 3
        low, high = metrics.confidence_interval(lambda rows: groups[rows].sum(), 30, groups=groups)
        assert low == high == 30

    def test_needs_two_clips(self):
        with pytest.raises(UserError, match="at least 2 clips"):
            metrics.confidence_interval(len, 1)


FEATURE_METRICS = [
    lambda x: metrics.frechet_distance(x, np.ones((5, 3))),
    lambda x: metrics.frechet_distance(np.ones((5, 3)), x),
    lambda x: metrics.nearest_distance(x, np.ones((5, 3))),
    lambda x: metrics.nearest_distance(np.ones((5, 3)), x),
    lambda x: metrics.within_class_diversity(x, np.zeros(len(x))),
    lambda x: metrics.StatisticalBins(x, num_bins=2),
    lambda x: metrics.StatisticalBins(np.arange(15.0).reshape(5, 3), num_bins=2).assign(x),
]
PROBABILITY_METRICS = [
    metrics.inception_score,
    metrics.modified_inception_score,
    lambda p: metrics.am_score(p, np.eye(3)),
    lambda p: metrics.am_score(np.eye(3), p),
    lambda p: metrics.class_accuracy(p, np.zeros(len(p))),
]


@pytest.mark.parametrize("metric", FEATURE_METRICS + PROBABILITY_METRICS)
class TestBadInput:
    def test_not_finite(self, metric):
        bad = np.eye(3)
        bad[1, 1] = np.nan
        with pytest.raises(UserError, match="1 of 3 clips are not finite"):
            metric(bad)

    def test_empty(self, metric):
        with pytest.raises(UserError, match=r"at least . clips? .* found 0"):
            metric(np.zeros((0, 3)))

    @pytest.mark.usefixtures("unchecked")
    def test_wrong_shape(self, metric):
        with pytest.raises(UserError, match="found shape"):
            metric(np.zeros(3))


@pytest.mark.parametrize("metric", [FEATURE_METRICS[0], FEATURE_METRICS[1], FEATURE_METRICS[4], FEATURE_METRICS[5]])
def test_single_sample(metric):
    with pytest.raises(UserError, match="at least 2 clips are needed, found 1"):
        metric(np.ones((1, 3)))


@pytest.mark.parametrize("metric", PROBABILITY_METRICS)
def test_logits_are_not_probabilities(metric):
    with pytest.raises(UserError, match="sum to 1"):
        metric(np.ones((4, 3)))


@pytest.mark.parametrize("metric", [FEATURE_METRICS[0], FEATURE_METRICS[2], FEATURE_METRICS[6], PROBABILITY_METRICS[2]])
@pytest.mark.usefixtures("unchecked")
def test_different_widths(metric):
    with pytest.raises(UserError, match="4"):
        metric(np.full((4, 4), 0.25))


@pytest.mark.usefixtures("unchecked")
def test_labels_of_another_number():
    with pytest.raises(UserError, match="3 clips need as many labels"):
        metrics.class_accuracy(np.eye(3), np.array([0, 1]))
