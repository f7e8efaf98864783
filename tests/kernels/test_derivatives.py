"""First derivatives in reverse mode; any other is right, or refused in one line that says what has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax import kernels
from diffwave_jax.kernels.backends import IMPLEMENTATIONS

FAST = [name for name in IMPLEMENTATIONS if name != "reference"]


def spectrum_size(dt, implementation):
    """A real function of the step sizes of one small layer."""
    state = jnp.asarray([[-0.5 + 1j, -0.5 + 4j]])
    spectrum = kernels.dplr_spectrum(dt, state, 0 * state + 1, state, state[None], 6, implementation=implementation)
    return jnp.sum(jnp.abs(spectrum) ** 2)


def cauchy_size(z, implementation):
    sums = kernels.cauchy(jnp.ones(2, "complex64"), z + 0j, jnp.asarray([1j, 2j]), implementation=implementation)
    return jnp.sum(jnp.abs(sums) ** 2)


@pytest.mark.parametrize("function", [spectrum_size, cauchy_size])
@pytest.mark.parametrize("implementation", FAST)
@pytest.mark.parametrize("jit", [False, True])
def test_other_derivatives_are_refused_by_name(function, implementation, jit):
    def size(x):
        return function(x, implementation)

    def second(x):
        return jax.grad(lambda x: jnp.sum(jax.grad(size)(x) ** 2))(x)

    x = jnp.asarray([0.3])
    with pytest.raises(TypeError, match="implementation='reference'"):
        (jax.jit(second) if jit else second)(x)
    if not jit:  # inside a jit JAX's own error comes first
        with pytest.raises(TypeError, match="implementation='reference'"):
            jax.jvp(size, (x,), (x,))


@pytest.mark.parametrize("function", [spectrum_size, cauchy_size])
def test_the_reference_has_all_derivatives(function):
    with jax.enable_x64(True):
        x, step = jnp.asarray([0.3]), 1e-5
        slope = jax.grad(lambda x: function(x, "reference"))
        second = jax.hessian(lambda x: function(x, "reference"))(x)[0, 0]
        # central differences: off by the third derivative times step^2, and by rounding over step
        np.testing.assert_allclose(second, (slope(x + step) - slope(x - step))[0] / (2 * step), rtol=1e-6)
