import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffwave_jax.kernels.target import Target, compile_for
from diffwave_jax.models import weights
from diffwave_jax.models.dense import LayerNorm, Linear, matmul


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


def float64_layer_norm(x, scale, bias):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(jnp.square(x - mean).mean(-1, keepdims=True) + 1e-5) * scale + bias


def test_layer_norm_agrees_with_float64_and_so_does_its_gradient():
    random = np.random.default_rng(0)
    x, cotangent = random.standard_normal((2, 3, 50, 24))
    scale, bias = random.standard_normal((2, 24))
    graph, _ = weights.split(LayerNorm(24, rngs=nnx.Rngs(0)))

    def call(x, scale, bias):
        return weights.merge(graph, {"scale": scale, "bias": bias})(x)

    with jax.enable_x64(True):
        expected, pull_back = jax.vjp(float64_layer_norm, *map(jnp.asarray, (x + 30, scale, bias)))
        expected = (expected, *pull_back(jnp.asarray(cotangent)))
    y, pull_back = jax.vjp(call, *(jnp.float32(a) for a in (x + 30, scale, bias)))
    # an x about 30 has float32's spacing of 2e-6, and sums of 150 terms follow
    chex.assert_trees_all_close((y, *pull_back(jnp.float32(cotangent))), expected, atol=1e-4)


@pytest.mark.parametrize("layer", [LayerNorm, functools.partial(Linear, 6)])
def test_layers_compute_in_half_precision_with_float32_weights(layer):
    layer = layer(6, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    x = jnp.ones((2, 5, 6), jnp.bfloat16)
    y, gradients = layer(x), nnx.grad(lambda m: jnp.sum(m(x).astype(jnp.float32)))(layer)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype("float32")}


def test_linear_has_the_gradient_of_a_sum_over_rows_for_its_bias():
    layer = Linear(3, 4, rngs=nnx.Rngs(0))
    cotangent = jnp.arange(40.0).reshape(2, 5, 4)
    gradients = nnx.grad(lambda m: jnp.sum(cotangent * m(jnp.ones((2, 5, 3)))))(layer)
    # whole numbers below 2^24: exact
    np.testing.assert_array_equal(gradients["bias"][...], cotangent.sum((0, 1)))


def test_the_bias_of_many_rows_has_its_gradient_in_half_precision_too():
    layer = Linear(1, 2, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    gradient = nnx.jit(nnx.grad(lambda m, x: jnp.sum(3 * m(x).astype(jnp.float32))))
    # rounded once to bfloat16's 8 bits; XLA's own sum in bfloat16 was 17,152
    np.testing.assert_allclose(gradient(layer, jnp.ones((5000, 1)))["bias"][...], 15_000, rtol=2**-8)


@pytest.mark.parametrize(("platform", "custom"), [("cpu", True), ("cuda", False), ("tpu", False)])
@pytest.mark.parametrize("layer", [LayerNorm, functools.partial(Linear, 6)])
def test_gradients_written_for_the_cpu_s_compiler_are_for_the_cpu_alone(platform, custom, layer):
    layer = layer(6, rngs=nnx.Rngs(0))
    with compile_for(Target(platform)):
        program = str(jax.make_jaxpr(layer)(jnp.ones((2, 6))))
    assert ("custom_vjp" in program) == custom


@pytest.mark.parametrize("layer", [LayerNorm, functools.partial(Linear, 6)])
def test_every_platform_s_gradients_agree(layer):
    layer = layer(6, rngs=nnx.Rngs(0))
    cotangent = jnp.arange(120.0).reshape(4, 5, 6) / 60

    def gradients(platform):
        with compile_for(Target(platform)):
            x = jax.random.normal(jax.random.key(1), (4, 5, 6))
            return nnx.grad(lambda m, x: jnp.sum(cotangent * m(x)), argnums=(0, 1))(layer, x)

    # float32 sums of 20 terms of about 2, in another order
    chex.assert_trees_all_close(gradients("cpu"), gradients("cuda"), atol=2e-5)
