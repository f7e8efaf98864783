"""The metrics of the papers: float64 functions of a classifier's features `(N, F)` or probabilities `(N, K)`.

Definitions: DiffWave (arXiv 2009.09761, appendix) and SaShiMi (arXiv 2202.09729, appendix C.3), which follow
the works named at each function. Every function raises `UserError` on what it cannot be computed from: no
clips or too few, values that are not finite, shapes that do not fit, rows that are not probabilities.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Integer, Real, Shaped
from scipy import special, stats
from scipy.spatial import distance
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances_argmin_min
from threadpoolctl import threadpool_limits

from diffwave_jax.errors import UserError

Features = Real[np.ndarray, "clips features"]
References = Real[np.ndarray, "references features"]
Probabilities = Real[np.ndarray, "clips classes"]
PerClip = Shaped[np.ndarray, " clips"]


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean (F,) of features, and a factor (min(N, F), F) of their unbiased covariance, `factor.T @ factor`."""

    mean: Float64[np.ndarray, " features"]
    factor: Float64[np.ndarray, "rank features"]

    @classmethod
    def fit(cls, name: str, features: Features) -> "Gaussian":
        """The moments of features `(N, F)`, N > 1; `name` is for errors."""
        features = as_features(name, features, at_least=2)
        mean = features.mean(axis=0)
        return cls(mean, np.linalg.qr(features - mean, mode="r") / np.sqrt(len(features) - 1))


def frechet_distance(generated: Features, reference: References | Gaussian) -> float:
    """Squared Frechet distance between Gaussians fitted to two sets of features (arXiv 1706.08500).

    |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1^(1/2) S_2 S_1^(1/2))^(1/2)). With any factors S = R^T R, the trace of the
    symmetric root is the sum of the singular values of R_1 R_2^T: no covariance is formed, let alone a product of
    two, so that singular ones lose no accuracy.

    Args:
      generated: (N, F) features, N > 1.
      reference: (M, F) features, M > 1, or their `Gaussian`.

    Returns:
      The distance, at least 0, in the features' unit squared.
    """
    first = Gaussian.fit("generated features", generated)
    second = reference if isinstance(reference, Gaussian) else Gaussian.fit("reference features", reference)
    _same_width(first.factor, second.factor)
    cross = np.linalg.svd(first.factor @ second.factor.T, compute_uv=False).sum()
    squared = np.sum((first.mean - second.mean) ** 2) + np.sum(first.factor**2) + np.sum(second.factor**2) - 2 * cross
    return float(max(squared, 0.0))


def inception_score(probabilities: Probabilities) -> float:
    """exp(E_x KL(p(y | x) || p(y))), from 1 to the number of classes (Salimans et al., arXiv 1606.03498)."""
    probabilities = as_probabilities("probabilities", probabilities)
    divergence = special.rel_entr(probabilities, probabilities.mean(axis=0)).sum(axis=1)
    return float(np.exp(divergence.mean()))


def modified_inception_score(probabilities: Probabilities) -> float:
    """exp(E_{x, x'} KL(p(y | x) || p(y | x'))) over all ordered pairs (Gurumurthy et al., arXiv 1706.02071).

    Infinite when a clip has probability 0 for a class that another one may be.
    """
    probabilities = as_probabilities("probabilities", probabilities)
    negative_entropy = special.xlogy(probabilities, probabilities).sum(axis=1).mean()
    with np.errstate(divide="ignore"):
        mean_log = np.log(probabilities).mean(axis=0)
    mean = probabilities.mean(axis=0)
    cross = np.sum(mean[mean > 0] * mean_log[mean > 0])
    return float(np.exp(negative_entropy - cross))


def am_score(probabilities: Probabilities, reference: Real[np.ndarray, "references classes"]) -> float:
    """KL(p_reference(y) || p(y)) + E_x H(p(y | x)); lower is better (Zhou et al. 2018, arXiv 1703.02000).

    Args:
      probabilities: (N, K) of the generated clips.
      reference: (M, K) of the training clips.
    """
    probabilities = as_probabilities("probabilities", probabilities)
    reference = as_probabilities("reference probabilities", reference)
    _same_width(probabilities, reference)
    balance = special.rel_entr(reference.mean(axis=0), probabilities.mean(axis=0)).sum()
    return float(balance + special.entr(probabilities).sum(axis=1).mean())


class StatisticalBins:
    """K-means cells of the reference features, for the number of statistically different bins (NDB).

    Richardson and Weiss (2018, arXiv 1805.12462): a cell is different if the proportions of reference and
    generated clips in it differ by a two-proportion z-test at the 5 % level. Of 50, 2.5 differ by chance.

    Args:
      reference: (M, F) features, at least as many clips as cells.
      num_bins: number of cells.
    """

    def __init__(self, reference: References, num_bins: int = 50):
        reference = as_features("reference features", reference, at_least=num_bins)
        self.num_features = reference.shape[1]
        self.clusters = KMeans(num_bins, random_state=0, n_init=1)  # pyright: ignore[reportArgumentType]: or a number
        self.counts = np.bincount(self.clusters.fit_predict(reference), minlength=num_bins)

    def assign(self, features: Features) -> Integer[np.ndarray, " clips"]:
        """Number of the cell (N,) that each clip of features (N, F) lies in; UserError for another number F."""
        features = as_features("generated features", features)
        if features.shape[1] != self.num_features:
            raise UserError(f"{features.shape[1]} generated features a clip, but {self.num_features} reference ones")
        return np.asarray(self.clusters.predict(features))

    def count_different(self, cells: Integer[np.ndarray, " clips"], significance: float = 0.05) -> int:
        """Number of cells whose share of the generated clips' `cells` (N,) differs from the reference's."""
        counts = np.bincount(cells, minlength=len(self.counts))
        n, m = counts.sum(), self.counts.sum()
        pooled = (counts + self.counts) / (n + m)
        error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        difference = np.abs(counts / n - self.counts / m)
        z = np.divide(difference, error, out=np.zeros_like(error), where=error > 0)
        return int(np.sum(2 * stats.norm.sf(z) < significance))


def class_accuracy(probabilities: Probabilities, labels: PerClip) -> float:
    """Fraction of clips whose most probable class is the one asked for.

    Args:
      probabilities: (N, K) of each class for each clip.
      labels: (N,) the classes that were asked for.

    Raises:
      UserError: there are not as many labels as clips, or rows that are no probabilities.
    """
    probabilities = as_probabilities("probabilities", probabilities)
    labels = np.asarray(labels)
    if labels.shape != probabilities.shape[:1]:
        raise UserError(f"{len(probabilities)} clips need as many labels, found labels of shape {labels.shape}")
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def nearest_distance(generated: Features, training: References) -> Float64[np.ndarray, " clips"]:
    """Euclidean distance from each generated clip's features to the nearest training clip's.

    Copies lie nearer to the training set than held-out real clips do: compare with the latter's distances.

    Args:
      generated: (N, F) features.
      training: (M, F) features.

    Returns:
      (N,) in the features' unit.
    """
    generated = as_features("generated features", generated)
    training = as_features("training features", training)
    _same_width(generated, training)
    nearest, _ = pairwise_distances_argmin_min(generated, training)
    # The search expands the square, which rounds small distances: take the found one's again.
    return np.linalg.norm(generated - training[nearest], axis=1)


def within_class_diversity(features: Features, labels: PerClip) -> float:
    """Mean distance between two clips of a class, averaged over the classes that have two.

    Args:
      features: (N, F).
      labels: (N,) the class of each clip.

    Raises:
      UserError: there are not as many labels as clips, or no two clips of one class.
    """
    features, labels = as_features("features", features, at_least=2), np.asarray(labels)
    if labels.shape != features.shape[:1]:
        raise UserError(f"{len(features)} clips need as many labels, found labels of shape {labels.shape}")
    groups = [features[labels == label] for label in np.unique(labels)]
    spreads = [distance.pdist(group).mean() for group in groups if len(group) > 1]
    if not spreads:
        raise UserError("within-class diversity needs two clips of one class, found at most one of each")
    return float(np.mean(spreads))


def confidence_interval(
    metric: Callable[[np.ndarray], float],
    num_clips: int,
    *,
    groups: PerClip | None = None,
    num_resamples: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % bootstrap interval of a metric over the generated clips; the reference stays as it is.

    The estimate plus and minus 1.96 bootstrap standard errors. Quantiles of the resamples would not do: resampled
    clips repeat, which alone moves the Frechet distance up and the inception score down.

    Args:
      metric: function of row indices (num_clips,), drawn with replacement, to a number.
      num_clips: how many clips there are, at least 2.
      groups: (num_clips,) the group of each clip, where the number of clips in a group was chosen and is not by chance,
        such as the digit asked for: every resample has as many of each.
      num_resamples: how many times clips are drawn.
      seed: of the draws.

    Returns:
      The interval's two ends.

    Raises:
      UserError: fewer than 2 clips.
    """
    if num_clips < 2:
        raise UserError(f"a confidence interval needs at least 2 clips, found {num_clips}")
    of_clip = np.zeros(num_clips) if groups is None else groups
    members = [np.flatnonzero(of_clip == group) for group in np.unique(of_clip)]
    random = np.random.default_rng(seed)
    with threadpool_limits(1):  # the matrices are so small that sharing them among threads costs ten times their work
        values = [metric(_resample(members, random)) for _ in range(num_resamples)]
    estimate, half = metric(np.arange(num_clips)), 1.96 * np.std(values, ddof=1)
    return float(estimate - half), float(estimate + half)


def as_features(name: str, array: Features, at_least: int = 1) -> Float64[np.ndarray, "clips features"]:
    """The array as float64 `(N, F)`; `UserError` unless finite and with `at_least` rows."""
    array = np.asarray(array, np.float64)
    if array.ndim != 2:
        raise UserError(f"{name} must be (clips, features), found shape {array.shape}")
    if len(array) < at_least:
        raise UserError(f"{name}: at least {at_least} clips are needed, found {len(array)}")
    if not np.all(np.isfinite(array)):
        raise UserError(f"{name}: {np.sum(~np.isfinite(array).all(axis=1))} of {len(array)} clips are not finite")
    return array


def as_probabilities(name: str, array: Probabilities, at_least: int = 1) -> Float64[np.ndarray, "clips classes"]:
    """The array as float64 `(N, K)`, its rows scaled to sum to 1; `UserError` if they are no probabilities."""
    array = as_features(name, array, at_least)
    total = array.sum(axis=1, keepdims=True)
    # 1e-3: a float32 or bfloat16 softmax over tens of classes sums to 1 well within it; logits do not.
    if array.min() < 0 or np.any(np.abs(total - 1) > 1e-3):
        raise UserError(f"{name} must be rows from 0 to 1 that sum to 1, found sums {total.min():g} to {total.max():g}")
    return array / total


def _resample(members: list[np.ndarray], random: np.random.Generator) -> np.ndarray:
    return np.concatenate([random.choice(rows, len(rows)) for rows in members])


def _same_width(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape[1] != second.shape[1]:
        raise UserError(f"both sets need as many columns, found {first.shape[1]} and {second.shape[1]}")
