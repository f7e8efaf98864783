"""What XLA's CPU compiler makes of a deep residual network."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffwave_jax.kernels.target import Target, compile_for, target
from diffwave_jax.models import DiffWave, DiffWaveConfig, SaShiMi, SaShiMiConfig, weights
from diffwave_jax.models.compiling import compiler_options, jit
from diffwave_jax.models.s4 import S4


def widest_fusion(network: nnx.Module) -> int:
    """The most arrays that any one loop of the compiled gradient reads."""
    graph, params = weights.split(network)
    x, t = jnp.ones((1, network.config.length)), jnp.zeros(1, jnp.int32)

    def loss(params):
        return jnp.sum(weights.merge(graph, params)(x, t))

    compiled = jax.jit(jax.grad(loss), compiler_options=compiler_options()).lower(params).compile()
    return max(operands.count("%") for operands in re.findall(r" fusion\((.*?)\)", compiled.as_text()))


DIFFWAVE = DiffWaveConfig(channels=8, n_layers=12, dilation_cycle=4, length=64)
SASHIMI = SaShiMiConfig(d_model=8, n_layers=(12,), pool=(), d_state=2, length=64, l_max=64)


@pytest.mark.parametrize(("network", "config", "layers"), [(DiffWave, DIFFWAVE, 12), (SaShiMi, SASHIMI, 24)])
def test_no_layer_evaluates_the_sums_of_those_before_it(network, config, layers):
    # One loop may read something of every layer: the step embedding's gradient is their sum. Left to itself the
    # compiler has loops here that read 49 arrays and 44.
    assert widest_fusion(network(config, rngs=nnx.Rngs(0))) <= layers


def test_layers_that_are_alike_are_traced_once(monkeypatch):
    traced = []
    call = S4.__call__
    monkeypatch.setattr(S4, "__call__", lambda self, u, filter: traced.append(u.shape[1]) or call(self, u, filter))
    network = SaShiMi(SaShiMiConfig(d_model=4, n_layers=(3, 2), pool=(2,), d_state=2, length=20), rngs=nnx.Rngs(0))
    jax.make_jaxpr(network)(jnp.ones((1, 20)), jnp.zeros(1, jnp.int32))
    assert traced == [20, 10]  # of three blocks on the way down, two in the centre and three on the way up


def test_a_trace_is_for_one_target():
    layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    call = weights.traced_once(lambda layer, x: x * {"cpu": 1, "tpu": 2}[target().platform])
    x = jnp.ones(2)
    with compile_for(Target("tpu")):
        np.testing.assert_array_equal(call(layer, x), [2, 2])
    np.testing.assert_array_equal(call(layer, x), [1, 1])


def test_a_function_for_itself_and_inside_another_gives_the_same():
    double = jit(lambda x: 2 * x)
    x = jnp.arange(3.0)
    np.testing.assert_array_equal(jax.jit(lambda x: double(x) + 1)(x), double(x) + 1)
