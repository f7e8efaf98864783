"""Data whose exact noise prediction is known, and the chains to hold samplers to. Everything in numpy float64."""

import numpy as np

from diffwave_jax.generation import samplers
from diffwave_jax.generation.samplers import ChainState, SamplerTable

# Many fine levels, so that "any number of steps up to T" leaves room for a slope: ends at alpha_bar = 0.018.
NUM_STEPS, BETA_MIN, BETA_MAX = 2000, 1e-5, 4e-3


class Gaussian:
    """Clean values from N(mean, std^2)."""

    def __init__(self, mean: float = 0.4, std: float = 0.3):
        self.mean, self.std = mean, std

    def predicted_noise(self, x, row: SamplerTable):
        variance = (row.signal * self.std) ** 2 + row.noise_level**2
        return row.noise_level * (x - row.signal * self.mean) / variance


class Mixture:
    """Clean values from N(-0.5, 0.1^2) with weight 0.3 and N(0.6, 0.2^2) with weight 0.7."""

    weights = np.array([0.3, 0.7])
    means = np.array([-0.5, 0.6])
    stds = np.array([0.1, 0.2])

    def predicted_noise(self, x, row: SamplerTable):
        variance = (row.signal * self.stds) ** 2 + row.noise_level**2
        offset = x[..., None] - row.signal * self.means
        log_density = np.log(self.weights / np.sqrt(variance)) - offset**2 / (2 * variance)
        share = np.exp(log_density - log_density.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        return row.noise_level * np.sum(share * offset / variance, -1)


def rows(table: SamplerTable) -> list[SamplerTable]:
    return [SamplerTable(*values) for values in zip(*table, strict=True)]


def run(data, table: SamplerTable, x, noise=None):
    """The chain from `x` (B,), with `noise` (S, B) where a step asks for it."""
    state = ChainState(x, np.zeros_like(x))
    for i, row in enumerate(rows(table)):
        fresh = np.zeros_like(x) if noise is None else noise[i]
        state = samplers.step(row, state, data.predicted_noise(state.x, row), fresh)
    return state.x


def moments(data: Gaussian, table: SamplerTable) -> tuple[float, float]:
    """Exact mean and variance of what the chain makes of N(0, 1): each step is an affine map of (x, x0)."""
    mean, covariance = np.zeros(2), np.diag([1.0, 0.0])
    for row in rows(table):

        def apply(*state, row=row):
            x, x0 = np.array(state)[:, None]
            after = samplers.step(row, ChainState(x, x0), data.predicted_noise(x, row), np.zeros(1))
            return np.concatenate(after)

        offset = apply(0.0, 0.0)
        matrix = np.stack([apply(1.0, 0.0), apply(0.0, 1.0)], axis=1) - offset[:, None]
        mean, covariance = matrix @ mean + offset, matrix @ covariance @ matrix.T
        covariance[0, 0] += row.noise**2
    return mean[0], covariance[0, 0]
