import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from diffwave_jax.models.layers import gelu, matmul


@pytest.mark.parametrize("features", [(3, 5), (5, 3)])
@pytest.mark.parametrize("rows", [(4,), (2, 6), (2, 3, 4)])
def test_matmul_has_the_gradient_of_a_product(rows, features):
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (*rows, features[0]))
    kernel = jax.random.normal(keys[1], features)
    cotangent = jax.random.normal(keys[2], (*rows, features[1]))
    y, pull_back = jax.vjp(matmul, x, kernel)
    expected, plain_pull_back = jax.vjp(jnp.matmul, x, kernel)
    # the same float32 sums of at most 24 terms, in another order
    chex.assert_trees_all_close((y, *pull_back(cotangent)), (expected, *plain_pull_back(cotangent)), atol=1e-5)


def test_matmul_keeps_half_precision():
    x, kernel = jnp.ones((2, 4, 3), jnp.bfloat16), jnp.ones((3, 5), jnp.bfloat16)
    gradients = jax.grad(lambda *operands: jnp.sum(matmul(*operands)), argnums=(0, 1))(x, kernel)
    chex.assert_trees_all_equal_shapes_and_dtypes(gradients, (x, kernel))


def test_gelu_is_the_exact_form():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    exact = x * scipy.special.ndtr(x.astype(np.float64))
    # float32's rounding of 1 + erf, 6e-8, times x
    np.testing.assert_allclose(gelu(jnp.asarray(x)), exact, atol=5e-7)
    slope = scipy.special.ndtr(x) + x * np.exp(-(x.astype(np.float64) ** 2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(x), slope, atol=5e-7)
