"""DiffWave with its filters given, which on some CPUs means other code, against DiffWave without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffwave_jax.kernels.target import Target, compile_for
from diffwave_jax.models import DiffWave, DiffWaveConfig
from diffwave_jax.models.compiling import compiler_options
from diffwave_jax.models.conditioner import Condition

SMALL = dict(channels=32, n_layers=4, dilation_cycle=3, step_widths=(16, 32, 32))


def network(**changes):
    made = DiffWave(DiffWaveConfig(**{**SMALL, **changes}), rngs=nnx.Rngs(0))
    made.output2.kernel[...] = jax.random.normal(jax.random.key(1), made.output2.kernel.shape)
    return made


def needs_loops(made):
    if not made.filters():
        pytest.skip("this processor has no loops for it")


@pytest.mark.parametrize(
    "changes", [{}, {"weight_norm": False}, {"skip_channels": 64}, {"step_in_residual": False}], ids=str
)
def test_same_noise(changes):
    made = network(**changes)
    needs_loops(made)
    x, t = jax.random.normal(jax.random.key(2), (2, 333)), jnp.array([3, 40])
    given = made(x, t, filters=made.filters())
    # Outputs of order 1; both ways differ by 2 to 6 units of float32's rounding.
    np.testing.assert_allclose(given, made(x, t), rtol=0, atol=2e-6)
    assert np.any(given != made(x, t))  # it was other code


@pytest.mark.parametrize("shared", [False, True])
def test_same_noise_of_a_vocoder_with_padded_clips(shared):
    made = network(n_mels=8, upsample=(4, 4), shared_upsampler=shared)
    needs_loops(made)
    x, t = jax.random.normal(jax.random.key(2), (2, 320)), jnp.array([3, 40])
    condition = Condition(jax.random.normal(jax.random.key(3), (2, 20, 8)), jnp.array([20, 11]))
    condition = made.condition(condition, 320)
    given = made(x, t, filters=made.filters(), condition=condition)
    np.testing.assert_allclose(given, made(x, t, condition=condition), rtol=0, atol=2e-6)  # as above


def test_clips_too_short_to_pay_take_the_other_way():
    made = network(n_layers=1, dilation_cycle=1)
    needs_loops(made)
    x, t = jnp.ones((1, 1)), jnp.zeros(1, jnp.int32)
    np.testing.assert_array_equal(made(x, t, filters=made.filters()), made(x, t))


@pytest.mark.parametrize("changes", [{"channels": 24}, {"dtype": "bfloat16"}], ids=str)
def test_none_for_other_sizes_and_types(changes):
    assert network(**changes).filters() == ()


def test_none_for_another_device():
    with compile_for(Target("tpu")):
        assert network().filters() == ()


def test_a_vocoders_blocks_share_their_memory():
    """What the mel adds to each block is made when its turn comes, not for all blocks at first."""

    def temporaries(n_layers):
        made = network(n_layers=n_layers, n_mels=8, upsample=(4, 4), shared_upsampler=True)
        needs_loops(made)
        condition = made.condition(Condition(jnp.ones((1, 1000, 8))), 16_000)
        call = jax.jit(lambda x, mel: made(x, jnp.zeros(1), filters=made.filters(), condition=Condition(mel)))
        lowered = call.lower(jnp.ones((1, 16_000)), condition.mel)
        return lowered.compile(compiler_options=compiler_options()).memory_analysis().temp_size_in_bytes

    assert temporaries(12) < 1.2 * temporaries(4)  # the weights are a few per cent
