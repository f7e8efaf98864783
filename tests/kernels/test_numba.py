import jax
import jax.numpy as jnp
import numpy as np

from diffwave_jax import kernels


def kernel(*parameters):
    return kernels.dplr_kernel(*parameters, 100, implementation="numba")


def gradients(*parameters):
    return jax.grad(lambda *p: jnp.sum(kernel(*p) ** 2), argnums=range(5))(*parameters)


def test_under_vmap(dplr_parameters):
    one, two = dplr_parameters(3, 4, seed=1), dplr_parameters(3, 4, seed=2)
    stacked = [jnp.stack(pair) for pair in zip(one, two, strict=True)]
    for function in (kernel, gradients):
        for i, parameters in enumerate((one, two)):
            for x, y in zip(
                jax.tree.leaves(jax.vmap(function)(*stacked)), jax.tree.leaves(function(*parameters)), strict=True
            ):
                # What is computed before and after it may be rounded differently.
                np.testing.assert_allclose(x[i], y, rtol=0, atol=1e-5 * np.max(np.abs(y)))


def test_in_a_scan(dplr_parameters):
    parameters = [jnp.asarray(x) for x in dplr_parameters(3, 4)]
    looped = jax.jit(lambda p: jax.lax.map(lambda i: kernel(p[0] * (1 + i), *p[1:]), jnp.arange(2)))(parameters)
    np.testing.assert_allclose(looped[0], kernel(*parameters), rtol=0, atol=1e-6 * np.max(np.abs(looped[0])))
    assert np.max(np.abs(looped[1] - looped[0])) > 0.1 * np.max(np.abs(looped[0]))


def test_not_a_number_stays_one(dplr_parameters):
    dt, w, b, p, c = dplr_parameters(3, 4)
    c = np.array(c)
    c[0, 1, 2] = np.nan
    found = kernel(dt, w, b, p, c)
    assert np.isnan(found[0, 1]).all()
    assert np.isfinite(found[:, [0, 2]]).all()
    assert np.isnan(gradients(dt, w, b, p, c)[0][1])


def test_the_same_bits_every_time(dplr_parameters):
    parameters = dplr_parameters(9, 32)  # heads for more than one thread, at the length below

    def spectrum():
        return np.asarray(kernels.dplr_spectrum(*parameters, 2000, implementation="numba"))

    first = spectrum()
    assert all(np.array_equal(spectrum(), first) for _ in range(5))
