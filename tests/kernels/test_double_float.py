import jax.numpy as jnp
import numpy as np

from diffwave_jax.kernels import double_float


def test_split_keeps_twice_the_digits():
    x = np.random.default_rng(0).normal(size=100)
    high, low = double_float.split(x)
    assert high.dtype == low.dtype == np.float32
    # 2^-48, half a unit of the low part.
    assert np.max(np.abs((np.float64(high) + low - x) / x)) < 4e-15


def test_product_modulus2_keeps_twice_the_digits():
    rng = np.random.default_rng(1)
    x = rng.uniform(1e-3, 1e-1, (50, 1)).astype(np.float32)
    z = (-0.5 + 300j * rng.uniform(size=(50, 20))).astype(np.complex64)
    high, low = double_float.product_modulus2(jnp.asarray(x), jnp.asarray(z))
    true = np.square(np.float64(x)) * (np.square(np.float64(z.real)) + np.square(np.float64(z.imag)))
    # Some roundings of 2^-48; a single float32 gives 1e-7.
    assert np.max(np.abs((np.float64(high) + np.float64(low)) / true - 1)) < 3e-14
