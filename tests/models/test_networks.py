import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffwave_jax.errors import UserError
from diffwave_jax.models import DiffWave, DiffWaveConfig, SaShiMi, SaShiMiConfig, build, model_config, weights
from diffwave_jax.models.layers import StepEmbedding

SMALL = {"d_model": 4, "n_layers": 1, "pool": (2, 2), "d_state": 4, "l_max": 32, "length": 32}


def sashimi(**fields):
    return SaShiMi(SaShiMiConfig(**{**SMALL, **fields}), rngs=nnx.Rngs(0))


def shaken(network):
    """The network with a last layer that is not zero, so that its output depends on everything before it."""
    network.output2.kernel.set_value(jnp.ones_like(network.output2.kernel[...]))
    return network


@jax.jit
def call(network, *inputs):
    """One program for each structure, whatever its weights and however often it is asked."""
    return network(*inputs)


def output(network, label=None, length=32):
    x = jax.random.normal(jax.random.key(0), (2, length))
    return call(network, x, jnp.asarray([3, 150]), label)


@pytest.mark.parametrize(
    ("network", "config", "expected"),
    [(DiffWave, DiffWaveConfig(), 24_071_681), (SaShiMi, SaShiMiConfig(), 23_478_785)],
)
def test_released_parameter_counts(network, config, expected):
    _, shapes = weights.abstract(lambda rngs: network(config, rngs=rngs))
    assert weights.count(shapes) == expected


def test_untrained_networks_predict_zero():
    np.testing.assert_array_equal(output(sashimi()), np.zeros((2, 32)))


@pytest.mark.parametrize(
    "fields",
    [
        {"n_layers": (0, 2, 1)},
        {"n_layers": (1, 0, 0)},
        {"l_max": (32, 16, 8)},
        {"pool": (4,), "n_layers": (1, 2)},
        {"pool": (), "n_layers": 2},
        {"expand": 3, "ff": 1},
        {"tie_state": True},
        {"glu": False},
        {"unet": False},
        {"remat": True},
        {"length": 64, "l_max": 80},
    ],
)
def test_sashimi_options_change_the_output(fields):
    """Every option gives a network of the right shape whose output differs from the plain one's."""
    length = fields.get("length", 32)
    y = output(shaken(sashimi(**fields)), length=length)
    assert y.shape == (2, length)
    assert np.all(np.isfinite(y))
    assert np.std(y) > 0
    if "remat" in fields:  # changes what is kept, not what is computed
        np.testing.assert_allclose(y, output(shaken(sashimi())), rtol=1e-6)


def test_output_taps_start_as_nothing_and_then_reach_beyond_a_group():
    """Without S4 layers a sample depends on its own group alone, but for this convolution."""
    fields = {"d_model": 16, "n_layers": 0, "pool": (4,)}
    plain, network = shaken(sashimi(**fields)), shaken(sashimi(output_taps=3, **fields))
    np.testing.assert_array_equal(output(network), output(plain))
    kernel = network.last[0].convolution.kernel
    # Not the same for all channels: what is added to each of them alike, the norm that follows takes away.
    kernel.set_value(jax.random.normal(jax.random.key(1), kernel[...].shape))
    x, t = jax.random.normal(jax.random.key(0), (1, 32)), jnp.asarray([3])
    for model, reached in [(plain, set()), (network, {7, 12})]:
        change = model(x, t) - model(x.at[0, 8:12].set(2.0), t)
        beyond = set(np.flatnonzero(change[0])) - set(range(8, 12))
        assert beyond == reached


def test_per_stage_length_only_changes_the_kernels_length():
    network = sashimi(l_max=(32, 16, 8))
    shapes = [stage.shape for stage in jax.eval_shape(network.filters)]
    assert shapes == [(2, 4, 32), (2, 8, 16), (1, 16, 8)]  # layers, channels, samples
    assert [block.s4.kernel.l_max for block in network.down if hasattr(block, "s4")] == [32, 16]


def test_tied_states_are_shared():
    assert sashimi(tie_state=True).down[0].s4.kernel.w_imag.shape == (1, 2)
    assert sashimi().down[0].s4.kernel.w_imag.shape == (4, 2)


def test_bfloat16_stays_close_to_float32():
    """bfloat16 keeps 8 bits, so about 1% of the output's scale per layer; the output itself is float32."""
    full, half = output(shaken(sashimi())), output(shaken(sashimi(dtype="bfloat16")))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, full, atol=0.05 * np.std(full) + 0.05)
    assert not np.array_equal(half, full)


@pytest.mark.parametrize("name", ["sashimi", "diffwave"])
def test_classes(name):
    fields = SMALL if name == "sashimi" else {"channels": 4, "n_layers": 2, "dilation_cycle": 2, "length": 32}
    plain = build({"name": name, **fields}, rngs=nnx.Rngs(0))
    conditional = shaken(build({"name": name, "n_classes": 10, **fields}, rngs=nnx.Rngs(0)))
    extra = set(weights.split(conditional)[1]) - set(weights.split(plain)[1])
    assert extra == {"embedding.label.embedding"}
    none, seven = output(conditional), output(conditional, jnp.asarray([7, 7]))
    np.testing.assert_array_equal(none, output(conditional, jnp.asarray([10, 10])))
    assert not np.allclose(none, seven)
    with pytest.raises(ValueError, match="unconditional"):
        output(plain, jnp.asarray([7, 7]))


@pytest.mark.parametrize("name", ["sashimi", "diffwave"])
def test_speakers(name):
    fields = SMALL if name == "sashimi" else {"channels": 16, "n_layers": 2, "dilation_cycle": 2, "length": 32}
    network = shaken(build({"name": name, "n_classes": 3, "n_speakers": 2, **fields}, rngs=nnx.Rngs(0)))
    params = weights.split(network)[1]
    assert params["embedding.label.embedding"].shape[0] == 4 and params["embedding.speaker.embedding"].shape[0] == 3
    np.testing.assert_array_equal(output(network), output(network, jnp.asarray([6, 6])))
    outputs = [output(network, jnp.asarray([label, label])) for label in range(7)]
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(outputs, 2))


def test_a_label_is_the_class_and_the_speaker():
    """What two speakers say differs by the same vector whatever they say, and the same holds for two classes."""
    embedding = StepEmbedding(n_classes=3, n_speakers=2, widths=(4, 8, 8), rngs=nnx.Rngs(0))
    table = np.stack([embedding(jnp.zeros(1), jnp.asarray([label]))[0] for label in range(6)]).reshape(2, 3, 8)
    differences = table[1] - table[0]
    np.testing.assert_allclose(differences, np.broadcast_to(differences[0], (3, 8)), atol=1e-6)  # float32 sums


def test_weights_round_trip():
    network = shaken(sashimi())
    graph, params = weights.split(network)
    assert params["down.0.s4.kernel.C"].shape == (2, 4, 2, 2)
    np.testing.assert_array_equal(output(weights.merge(graph, params)), output(network))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "wavenet"}, "model.name must be one of"),
        ({"name": "sashimi", "d_modle": 3}, "unknown model field 'd_modle'"),
        ({"name": "sashimi", "length": 16001}, "multiple of 16"),
        ({"name": "sashimi", "l_max": 8000}, "more than its l_max 8000"),
        ({"name": "sashimi", "n_layers": (1, 2)}, "n_layers must be one number or 3"),
        ({"name": "sashimi", "output_taps": 4}, "output_taps must be odd"),
        ({"name": "diffwave", "n_layers": 0}, "n_layers must be at least 1"),
        ({"name": "diffwave", "n_speakers": 2}, "speakers need classes"),
        ({"name": "sashimi", "n_classes": -1}, "at least 0"),
        ({"name": "sashimi", "d_state": 7}, "d_state must be even"),
        ({"name": "sashimi", "s4_implementation": "cuda"}, "s4_implementation must be one of reference"),
        ({"name": "diffwave", "dtype": "bf16"}, "dtype must be one of float32, bfloat16, got 'bf16'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_configs_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        model_config(fields)


def test_other_lengths_than_the_configs():
    assert output(shaken(sashimi()), length=16).shape == (2, 16)
    with pytest.raises(ValueError, match="more than its l_max"):
        output(sashimi(), length=64)
