from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax import kernels


def normal(rng, *shape):
    """Complex, rounded to float32, in double precision."""
    return np.complex128(np.complex64(rng.normal(size=shape) + 1j * rng.normal(size=shape)))


@partial(jax.jit, static_argnames="implementation")
def value_and_gradients(v, z, w, weights, implementation):
    def loss(v, z, w):
        sums = kernels.cauchy(v, z, w, implementation=implementation)
        return jnp.sum(jnp.real(weights * sums)), sums

    gradients, sums = jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(v, z, w)
    return sums, gradients


@pytest.mark.parametrize("implementation", ["xla", "numba", "triton", "mosaic"])
def test_agrees_with_the_reference(implementation, relative_error):
    rng = np.random.default_rng(0)
    v, w, z, weights = normal(rng, 2, 3, 5), normal(rng, 3, 5), normal(rng, 70), normal(rng, 2, 3, 70)
    true, true_gradients = value_and_gradients(v, z, w, weights, "reference")
    sums, gradients = value_and_gradients(v, z, w, weights, implementation)
    assert sums.shape == (2, 3, 70)
    # The bounds that the project promises for every implementation.
    assert relative_error(sums, true) < 3e-6
    for which, x, y in zip("vzw", gradients, true_gradients, strict=True):
        assert relative_error(x, y) < 1e-4, which


def test_nodes_far_away_and_on_the_imaginary_axis(relative_error):
    """The nodes of an S4 layer: 2 i tan, up to 1e8 at the Nyquist node."""
    rng = np.random.default_rng(1)
    v, w = normal(rng, 4), np.complex128(np.complex64(-0.5 + 1j * np.pi * np.arange(4)))
    z = np.complex128(np.complex64(2j * np.array([0, 1e-3, 1, 1e3, 1e8])))
    found = kernels.cauchy(v, z, w, implementation="xla")
    expected = kernels.cauchy(v, z, w, implementation="reference")
    # Each node on its own: they differ by ten orders of magnitude.
    for x, y in zip(found, expected, strict=True):
        assert relative_error(x, y) < 1e-5


@pytest.mark.parametrize(
    ("v", "z", "message"),
    [
        (np.ones(4), np.ones((2, 2)), r"z must have shape \(nodes,\), found \(2, 2\)"),
        (np.ones(3), np.ones(2), "same number of states"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_input(v, z, message):
    with pytest.raises(ValueError, match=message):
        kernels.cauchy(v, z, np.ones(4))
