"""The CPU loops' own elementary functions, against SciPy's in float64."""

import numpy as np
from numba import njit
from scipy import special

from diffwave_jax.kernels.cpu import elementwise


def over(function, x: np.ndarray) -> np.ndarray:
    @njit
    def loop(x):
        y = np.empty_like(x)
        for i in range(len(x)):
            y[i] = function(x[i])
        return y

    return loop(x).astype(np.float64)


def test_exp():
    x = np.linspace(-87, 87, 100_001).astype(np.float32)
    exact = np.exp(x.astype(np.float64))
    # Rounding of the sum and the product, half a unit each, and of r.
    np.testing.assert_allclose(over(elementwise.exp, x), exact, rtol=1.5e-7)
    outside = over(elementwise.exp, np.array([-np.inf, -1e9, -88, 0, 1e9], np.float32))
    np.testing.assert_array_equal(outside[:4], [0, 0, 0, 1])
    assert np.isfinite(outside[4])


def test_sigmoid():
    x = np.linspace(-100, 100, 100_001).astype(np.float32)
    exact = special.expit(x.astype(np.float64))
    # Below -87 exp stays at its largest, and so does the sigmoid's smallest: 1.6e-38.
    np.testing.assert_allclose(over(elementwise.sigmoid, x), exact, rtol=2.5e-7, atol=2e-38)


def test_gated():
    @njit
    def loop(x, y, z):
        for i in range(len(x)):
            z[i] = elementwise.gated(x[i], y[i])

    x = np.concatenate([np.linspace(-12, 12, 2001), [-1e9, 1e9, 0]]).astype(np.float32)
    for gate in (-1e9, -100, -3, 0, 2, 100, 1e9):
        y, z = np.full_like(x, gate), np.empty_like(x)
        loop(x, y, z)
        # Below 1 the numerator is a difference of numbers about 1: half a unit of each, and of the quotient.
        exact = np.tanh(x.astype(np.float64)) * special.expit(y.astype(np.float64))
        np.testing.assert_allclose(z.astype(np.float64), exact, rtol=0, atol=2.5e-7)


def test_gelu():
    x = np.concatenate([np.linspace(-12, 12, 100_001), [np.inf, -np.inf]]).astype(np.float32)
    exact = x[:-2].astype(np.float64) * special.ndtr(x[:-2].astype(np.float64))
    found = over(elementwise.gelu, x)
    # Half of erf's error of 4.3e-7 at most, times x, and the product's own rounding.
    assert np.max(np.abs(found[:-2] - exact) / np.maximum(1, np.abs(x[:-2]))) < 2.5e-7
    assert np.isposinf(found[-2])


def test_numbers_that_are_none_stay_so():
    nan = np.array([np.nan], np.float32)
    assert np.isnan(over(elementwise.gelu, nan)).all()
