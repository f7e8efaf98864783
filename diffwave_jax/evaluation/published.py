"""The metrics as the SaShiMi authors' evaluation script computes them, for comparison with published figures.

Source of the definitions: `models/sashimi/sc09_classifier/test_speech_commands.py` of github.com/state-spaces/s4. The
AM score there is the paper's own, `metrics.am_score`. What differs from the definitions in `metrics`:

- Inception score: from half of the clips, with the divergence taken over clips instead of classes.
- Modified inception score: 10,000 random pairs of clips instead of all pairs.
- Frechet distance: by the square root of a product that is not symmetric.
- Statistically different bins: as a fraction of the 50 cells.
"""

import warnings

import numpy as np
from scipy import linalg, special

from diffwave_jax.evaluation.metrics import as_features, as_probabilities


def frechet_distance(generated, reference):
    """Squared Frechet distance by `scipy.linalg.sqrtm` of the covariances' product, for features `(N, F)`."""
    generated = as_features("generated features", generated, at_least=2)
    reference = as_features("reference features", reference, at_least=2)
    shift = generated.mean(axis=0) - reference.mean(axis=0)
    covariance_1, covariance_2 = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (generated, reference))
    root = _root_of_product(covariance_2, covariance_1)
    return float(np.sum(shift**2) + np.trace(covariance_1 + covariance_2 - 2 * root).real)


def _root_of_product(first, second):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", linalg.LinAlgWarning)  # of singular products, which the script lets pass
        root = linalg.sqrtm(first @ second)
        if not np.isfinite(root).all():
            offset = 1e-4 * np.eye(len(first))
            root = linalg.sqrtm((first + offset) @ (second + offset))
    return root


def inception_score(probabilities):
    """exp of the mean over classes of KL(p(x | y) || uniform), p(x | y) over one shuffled half of the clips.

    The divergence normalises each class's column over the clips, so the other half's mean probabilities, constant
    along a column, cancel. The result depends on the number of clips only weakly, but it is not bounded by the
    number of classes.
    """
    probabilities = as_probabilities("probabilities", probabilities, at_least=2)
    order = np.random.RandomState(0).permutation(len(probabilities))
    half = probabilities[order[: len(order) // 2]]
    columns = half / half.sum(axis=0)
    return float(np.exp(special.rel_entr(columns, 1 / len(half)).sum(axis=0).mean()))


def modified_inception_score(probabilities, num_pairs=10_000):
    """exp of the mean KL divergence between two clips' probabilities over random pairs, the same at every call."""
    probabilities = as_probabilities("probabilities", probabilities)
    first, second = np.random.RandomState(0).randint(len(probabilities), size=(num_pairs, 2)).T
    return float(np.exp(special.rel_entr(probabilities[first], probabilities[second]).sum(axis=1).mean()))
