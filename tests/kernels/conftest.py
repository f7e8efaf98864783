import jax
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def float64():
    """The truth of these tests is in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def dplr_parameters():
    """A function making random (dt, w, b, p, c) in float64, spread as in a trained layer.

    All are rounded to float32 first: next to a resonance the kernel is as sensitive to its inputs as to rounding.
    """

    def make(heads, states, directions=2, tied=False, seed=0):
        rng = np.random.default_rng(seed)
        rows = 1 if tied else heads

        def normal(*shape):
            return rng.normal(size=shape) + 1j * rng.normal(size=shape)

        dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), heads))
        frequencies = np.pi * (np.arange(states) + rng.uniform(0, 1, (rows, states)))
        w = -np.exp(rng.normal(np.log(0.5), 0.3, (rows, states))) + 1j * frequencies
        p = np.sqrt(np.arange(states) + 0.5) * normal(rows, states)
        b = np.sqrt(2) * p + normal(rows, states)
        c = normal(directions, heads, states)
        return np.float64(np.float32(dt)), *(np.complex128(np.complex64(x)) for x in (w, b, p, c))

    return make


def relative_error(found, true):
    """Of the largest difference to the largest true value."""
    return np.max(np.abs(found - true)) / np.max(np.abs(true))


@pytest.fixture(name="relative_error")
def relative_error_fixture():
    return relative_error
