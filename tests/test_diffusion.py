import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax.config import default_config, diffusion_section
from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation import samplers
from tests.helpers.golden_vectors import golden, golden_network


def test_schedule():
    diffusion = Diffusion.linear()
    beta = np.linspace(1e-4, 0.02, 200)
    np.testing.assert_array_equal(diffusion.beta, beta)
    np.testing.assert_allclose(diffusion.alpha_bar[-1], np.prod(1 - beta), rtol=1e-12)
    assert diffusion.sigma[0] == 0
    t = 120
    variance = beta[t] * (1 - np.prod(1 - beta[:t])) / (1 - np.prod(1 - beta[: t + 1]))
    np.testing.assert_allclose(diffusion.sigma[t] ** 2, variance, rtol=1e-12)


@pytest.mark.parametrize("beta", [[], [0.0, 0.1], [0.5, 1.0], [[0.1]]])
def test_bad_schedules_are_refused(beta):
    with pytest.raises(ValueError, match="beta"):
        Diffusion(np.asarray(beta))


def test_a_power_that_is_none_is_refused():
    section = diffusion_section()
    section.beta_power = 0.0
    with pytest.raises(UserError, match=r"beta_power is 0.0"):
        Diffusion.from_config(section)


def test_noisy_audio_and_its_loss():
    key_x, key_noise = jax.random.split(jax.random.key(0))
    x0, noise = jax.random.normal(key_x, (3, 64)), jax.random.normal(key_noise, (3, 64))
    t = jnp.asarray([0, 60, 199])
    diffusion = Diffusion.linear()
    x = diffusion.q_sample(x0, t, noise)
    alpha_bar = np.prod(1 - np.linspace(1e-4, 0.02, 200)[:61])
    expected = np.sqrt(alpha_bar) * x0[1] + np.sqrt(1 - alpha_bar) * noise[1]
    np.testing.assert_allclose(x[1], expected, atol=1e-6)  # float32 of numbers up to 4
    np.testing.assert_allclose(diffusion.loss(lambda x, t: noise, x0, t, noise), np.zeros(3))
    np.testing.assert_allclose(diffusion.loss(lambda x, t: noise + 2, x0, t, noise), np.full(3, 4), rtol=1e-5)


@pytest.mark.parametrize(("tag", "atol"), [("sashimi_tiny", 2e-4), ("diffwave_tiny", 5e-6)])
def test_golden_reverse_process(tag, atol):
    """The original's reverse process with its noise injected.

    atol: 20 steps add up and amplify the networks' own error of 4e-6 and 5e-7; 4e-5 to 9e-5 was found for SaShiMi (one
    sample in 2,048 above 5e-5), depending on how XLA fuses the network, on states between -5 and 5.
    """
    vectors, network = golden(tag), golden_network(tag)
    steps = int(vectors["sample_T"])
    diffusion = Diffusion.linear(steps, float(vectors["sample_beta_0"]), float(vectors["sample_beta_T"]))
    predict = jax.jit(network)
    x, filters = jnp.asarray(vectors["sample_z"]), network.filters()
    for step in reversed(range(steps)):
        t = jnp.full((len(x),), step)
        of_state, of_prediction, of_noise = (weight[step] for weight in diffusion.reverse_coefficients)
        x = of_state * x + of_prediction * predict(x, t, filters=filters) + of_noise * vectors["sample_noise"][step]
        x = x.astype(jnp.float32)
        if step == 5:
            chex.assert_trees_all_close(np.float64(x), vectors["sample_w_at_5"], atol=atol)
    chex.assert_trees_all_close(np.float64(x), vectors["sample_x0"], atol=atol)


@pytest.mark.parametrize(("tag", "rtol"), [("sashimi_tiny", 2e-5), ("diffwave_tiny", 2e-6)])
def test_golden_loss(tag, rtol):
    """The loss that the original computes before its next training step."""
    vectors, network = golden(tag), golden_network(tag)
    x0, noise = jnp.asarray(vectors["resume_x0"][0]), jnp.asarray(vectors["resume_noise"][0])
    losses = Diffusion.linear().loss(network, x0, jnp.asarray(vectors["resume_t"][0]), noise)
    np.testing.assert_allclose(np.mean(losses), vectors["resume_loss"][0], rtol=rtol)


def test_v_stands_for_the_noise():
    """v of a known clip and noise, as Salimans & Ho define it."""
    diffusion = Diffusion(np.linspace(1e-4, 0.1, 100), "v")
    key_x, key_noise = jax.random.split(jax.random.key(0))
    x0, noise = jax.random.normal(key_x, (3, 64)), jax.random.normal(key_noise, (3, 64))
    t = jnp.asarray([0, 50, 99])
    alpha_bar = diffusion.alpha_bar[np.asarray(t)][:, None]
    v = jnp.asarray(np.sqrt(alpha_bar) * noise - np.sqrt(1 - alpha_bar) * x0, jnp.float32)
    x = diffusion.q_sample(x0, t, noise)
    np.testing.assert_allclose(diffusion.predicted_noise(v, x, t), noise, atol=1e-6)  # float32, values up to 3
    np.testing.assert_array_equal(Diffusion.linear().predicted_noise(v, x, t), v)
    level = samplers.plan(diffusion, "dpm++", 7, start=50)
    between, signal, noise_level = (x[3] for x in (level.timestep, level.signal, level.noise_level))
    assert between % 1 > 0.01
    expected = signal * v + noise_level * x
    np.testing.assert_allclose(diffusion.predicted_noise(v, x, jnp.full(3, between)), expected, atol=1e-5)
    with pytest.raises(ValueError, match="noise, v"):
        Diffusion(np.asarray([0.1]), "x0")


def test_the_size_of_the_error_instead_of_its_square():
    x0, noise = jnp.zeros((2, 8)), jnp.tile(jnp.asarray([3.0, -1.0]), (2, 4))
    predict = lambda x, t: jnp.zeros_like(x)  # noqa: E731
    np.testing.assert_allclose(Diffusion.linear().loss(predict, x0, jnp.zeros(2, jnp.int32), noise, "l1"), 2.0)
    np.testing.assert_allclose(Diffusion.linear().loss(predict, x0, jnp.zeros(2, jnp.int32), noise), 5.0)


def test_a_section_describes_a_schedule():
    section = default_config().diffusion
    np.testing.assert_array_equal(Diffusion.from_config(section).beta, Diffusion.linear().beta)
    section.update(num_steps=3, beta_min=0.001, beta_max=0.064, beta_power=3.0, prediction="v")
    diffusion = Diffusion.from_config(section)
    np.testing.assert_allclose(diffusion.beta, [0.1**3, 0.25**3, 0.4**3], rtol=1e-12)
    assert diffusion.prediction == "v"
    section.prediction = "w"
    with pytest.raises(UserError, match="diffusion: prediction must be one of noise, v"):
        Diffusion.from_config(section)
