import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from diffwave_jax.models.layers import gelu


def test_gelu_is_the_exact_form():
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    exact = x * scipy.special.ndtr(x.astype(np.float64))
    # float32's rounding of 1 + erf, 6e-8, times x
    np.testing.assert_allclose(gelu(jnp.asarray(x)), exact, atol=5e-7)
    slope = scipy.special.ndtr(x) + x * np.exp(-(x.astype(np.float64) ** 2) / 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(x), slope, atol=5e-7)
