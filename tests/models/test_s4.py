import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from diffwave_jax.kernels.target import Target, compile_for
from diffwave_jax.models import weights
from diffwave_jax.models.s4 import S4, convolve, filter_spectrum, shortened, stacked_filters


def test_convolution_is_two_sided():
    """y[l] = sum_j k0[j] u[l - j] + sum_j k1[j] u[l + 1 + j] + D u[l], written out."""
    layer = S4(3, d_state=4, l_max=16, rngs=nnx.Rngs(0))
    u = np.random.default_rng(0).normal(size=(2, 12, 3)).astype(np.float32)
    forward, backward = np.asarray(layer.kernel(12), np.float64)
    expected = u * np.asarray(layer.D[...])
    for l in range(12):
        for j in range(12):
            expected[:, l] += forward[:, j] * u[:, l - j] if j <= l else 0
            expected[:, l] += backward[:, j] * u[:, l + 1 + j] if l + 1 + j < 12 else 0
    y = convolve(jnp.asarray(u), layer.filter(12))
    np.testing.assert_allclose(y, expected, atol=2e-5 * np.abs(expected).max())  # float32 FFTs of 24 points


def test_shortened_filters_fade_with_the_distance():
    forward, backward = np.random.default_rng(0).normal(size=(2, 3, 12))
    distance = np.arange(12)
    faded = filter_spectrum(
        jnp.asarray(forward * np.exp(-((distance / 4) ** 2)), jnp.float32),
        jnp.asarray(backward * np.exp(-(((distance + 1) / 4) ** 2)), jnp.float32),
    )
    whole = filter_spectrum(jnp.asarray(forward, jnp.float32), jnp.asarray(backward, jnp.float32))
    np.testing.assert_allclose(shortened(whole, 4.0), faded, atol=1e-5)  # two more float32 transforms of 12 points


def test_a_tpu_computes_the_same_by_products():
    layer = S4(3, d_state=4, l_max=12, rngs=nnx.Rngs(0))
    graph, params = weights.split(layer)
    u = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 3)), jnp.float32)

    def loss(params):
        spectrum = weights.merge(graph, params).filter(12)
        return jnp.sum(convolve(u, spectrum) ** 3) + jnp.sum(convolve(u, shortened(spectrum, 4.0)) ** 3)

    here = jax.value_and_grad(loss)(params)
    with compile_for(Target("tpu")):
        program = jax.jit(jax.value_and_grad(loss)).trace(params)
    assert "fft[" not in str(program.jaxpr)
    chex.assert_trees_all_close(program.lower().compile()(params), here, rtol=1e-4, atol=1e-4)  # sums of 72 cubes


def test_for_a_gradient_a_stage_keeps_nothing_but_its_filters():
    layers = [S4(3, d_state=4, l_max=16, rngs=nnx.Rngs(seed)) for seed in range(3)]
    graph, params = weights.split(nnx.List(layers))
    program = jax.make_jaxpr(
        lambda params: jax.vjp(lambda p: stacked_filters(list(weights.merge(graph, p)), 12), params)
    )
    loops = [eqn for eqn in program(params).eqns if eqn.primitive.name == "scan"]
    assert [[var.aval.shape for var in loop.outvars] for loop in loops] == [[(3, 3, 12)]]


def test_initial_values():
    layer = S4(200, d_state=4, l_max=32, rngs=nnx.Rngs(0))
    dt = np.exp(layer.kernel.log_dt[...])
    assert 1e-3 <= dt.min() < 1.5e-3 < 0.07 < dt.max() <= 0.1
    assert abs(np.std(layer.D[...]) - 1) < 0.2  # 200 normal values: the error's own deviation is 0.05


def test_glu_gates_the_output():
    plain, gated = (S4(2, glu=glu, d_state=4, l_max=8, rngs=nnx.Rngs(0)) for glu in (False, True))
    assert plain.output.kernel.shape == (2, 2)
    assert gated.output.kernel.shape == (2, 4)
    assert gated(jnp.ones((1, 8, 2)), gated.filter(8)).shape == (1, 8, 2)


def test_kernels_of_a_stage_are_those_of_its_layers():
    layers = [S4(3, d_state=4, l_max=16, rngs=nnx.Rngs(seed)) for seed in (0, 1)]
    together = stacked_filters(layers, 8)
    for layer, filters in zip(layers, together, strict=True):
        # the same float32 operations, fused in another way
        np.testing.assert_allclose(filters, layer.filter(8), atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01
    assert stacked_filters([], 8) == ()
