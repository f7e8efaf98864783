"""Derivatives beside the first gradient in reverse mode: they are the reference's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax import kernels
from diffwave_jax.kernels.backends import IMPLEMENTATIONS


def loss(c, implementation, parameters):
    dt, w, b, p, _ = parameters
    c = jax.lax.complex(c[0], c[1])
    kernel = kernels.dplr_kernel(dt * c.real.mean(), w, b, p * c.imag.mean(), c, 8, implementation=implementation)
    return jnp.sum(kernel**2)


DERIVATIVES = {
    "jvp": lambda f, x: jax.jvp(f, (x,), (jnp.cos(x),))[1],
    "forward over reverse": lambda f, x: jax.jvp(jax.grad(f), (x,), (jnp.cos(x),))[1],
    "reverse over reverse": lambda f, x: jax.grad(lambda x: jnp.vdot(jax.grad(f)(x), jnp.cos(x)))(x),
}


@pytest.mark.parametrize("implementation", ["xla", "numba"])
@pytest.mark.parametrize("name", DERIVATIVES)
def test_other_derivatives_are_the_references(name, implementation, dplr_parameters, relative_error):
    parameters = [jnp.asarray(x) for x in dplr_parameters(2, 2)]
    x = jnp.stack([parameters[-1].real, parameters[-1].imag])
    found, true = (
        jax.jit(lambda x, which=which: DERIVATIVES[name](lambda y: loss(y, which, parameters), x))(x)
        for which in (implementation, "reference")
    )
    assert np.isfinite(found).all()
    # The bound that the project promises for every first gradient.
    assert relative_error(found, true) < 1e-4


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("heads", "states"), [(0, 2), (2, 0)])
def test_no_heads_or_states(implementation, heads, states):
    row = jnp.ones((heads, states), "complex64")
    with pytest.raises(ValueError, match="at least one head and one state"):
        kernels.dplr_kernel(jnp.ones(heads), row, row, row, row[None], 8, implementation=implementation)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("nodes", "states"), [(0, 2), (2, 0)])
def test_no_nodes_or_states(implementation, nodes, states):
    row = jnp.ones(states, "complex64")
    with pytest.raises(ValueError, match="at least one node and one state"):
        kernels.cauchy(row, jnp.ones(nodes, "complex64"), row, implementation=implementation)
