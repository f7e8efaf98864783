"""Arrays without heads, states or nodes: one clear error from every implementation."""

import jax.numpy as jnp
import pytest

from diffwave_jax import kernels
from diffwave_jax.kernels.backends import IMPLEMENTATIONS


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
