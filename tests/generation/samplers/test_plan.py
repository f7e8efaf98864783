"""What the samplers' tables contain: known special cases, ranges, and mistakes."""

import numpy as np
import pytest

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation import samplers
from diffwave_jax.generation.samplers import ChainState
from diffwave_jax.generation.samplers.schedule import FAST_VARIANCES
from tests.helpers.analytic import Mixture, rows, run

DIFFUSION = Diffusion.linear()


def test_ddim_with_all_steps_and_eta_1_equals_ddpm():
    generator = np.random.default_rng(0)
    x, noise = generator.standard_normal(16), generator.standard_normal((200, 16))
    ancestral = run(Mixture(), samplers.plan(DIFFUSION, "ddpm"), x, noise)
    implicit = run(Mixture(), samplers.plan(DIFFUSION, "ddim", 200, eta=1.0), x, noise)
    np.testing.assert_allclose(implicit, ancestral, atol=1e-11)  # 200 steps of float64 rounding


@pytest.mark.parametrize("steps", [1, 7, 25, 200])
def test_ddim_with_eta_1_equals_ddpm_at_any_number_of_steps(steps):
    generator = np.random.default_rng(1)
    x, noise = generator.standard_normal(16), generator.standard_normal((steps, 16))
    ancestral = run(Mixture(), samplers.plan(DIFFUSION, "ddpm", steps), x, noise)
    implicit = run(Mixture(), samplers.plan(DIFFUSION, "ddim", steps, eta=1.0), x, noise)
    np.testing.assert_allclose(implicit, ancestral, atol=1e-11)


def test_ddpm_with_all_steps_is_the_reverse_process():
    table = samplers.plan(DIFFUSION, "ddpm", 200)
    state, prediction, noise = DIFFUSION.reverse_coefficients
    np.testing.assert_array_equal(table.timestep, np.arange(199, -1, -1))
    # The shorter chain's beta is a ratio of cumulative products: 1e-16 over beta = 1e-4.
    np.testing.assert_allclose(table.state, state[::-1], rtol=1e-12)
    np.testing.assert_allclose(table.prediction, prediction[::-1], rtol=1e-10)
    np.testing.assert_allclose(table.noise, noise[::-1], rtol=1e-10)
    assert table.noise[-1] == 0
    assert not np.any(table.data) and not np.any(table.correction)


def test_sde_solver_of_first_order_is_ancestral_sampling():
    # Without the multistep correction the SDE solver is exactly the ancestral step (arXiv 2211.01095, appendix B).
    generator = np.random.default_rng(2)
    x, noise = generator.standard_normal(16), generator.standard_normal((30, 16))
    table = samplers.plan(DIFFUSION, "dpm++sde", 30, spacing="uniform")
    first_order = table._replace(correction=np.zeros(30))
    ancestral = samplers.plan(DIFFUSION, "ddpm", 30)
    np.testing.assert_allclose(run(Mixture(), first_order, x, noise), run(Mixture(), ancestral, x, noise), atol=1e-11)


def test_ode_solver_of_first_order_is_ddim():
    x = np.linspace(-2, 2, 9)
    table = samplers.plan(DIFFUSION, "dpm++", 30)
    first_order = table._replace(correction=np.zeros(30))
    implicit = samplers.plan(DIFFUSION, "ddim", 30, spacing="log_snr")
    np.testing.assert_allclose(run(Mixture(), first_order, x), run(Mixture(), implicit, x), atol=1e-11)


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 6, 25, 199, 200])
def test_every_sampler_takes_any_number_of_steps(sampler, steps):
    table = samplers.plan(DIFFUSION, sampler, steps)
    for name, column in table._asdict().items():
        assert column.shape == (steps,)
        assert np.all(np.isinf(column) if name == "limit" else np.isfinite(column))
    assert np.all(np.diff(table.timestep) < 0)
    assert table.timestep[0] <= 199 and table.timestep[-1] >= 0
    assert table.correction[0] == 0 and table.correction[-1] == 0
    # A chain ends on a clean clip: no noise of its own is left in, whatever was predicted.
    x = np.linspace(-1, 1, 5)
    assert np.all(np.isfinite(run(Mixture(), table, x, np.ones((steps, 5)))))


def test_a_perfect_prediction_is_recovered_by_every_sampler():
    class OneClip:
        def predicted_noise(self, x, row):
            return (x - row.signal * 0.25) / row.noise_level

    x, noise = np.linspace(-2, 2, 9), np.random.default_rng(3).standard_normal((25, 9))
    for sampler in samplers.SAMPLERS:
        made = run(OneClip(), samplers.plan(DIFFUSION, sampler, 25), x, noise)
        np.testing.assert_allclose(made, 0.25, atol=1e-9)  # float64 over the smallest noise level, 0.01


@pytest.mark.parametrize("sampler", samplers.SAMPLERS)
def test_other_clean_audio_in_place_of_a_steps(sampler):
    """The state after a step becomes what it would be had the network implied that audio."""
    random = np.random.default_rng(0)
    x, before, predicted, noise, other = random.standard_normal((5, 8))
    for row in rows(samplers.plan(DIFFUSION, sampler, 4)):
        state = ChainState(x, before)
        found = samplers.instead(row, samplers.step(row, state, predicted, noise), other)
        expected = samplers.step(row, state, (x - row.signal * other) / row.noise_level, noise)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)  # float64; the noise level divides by 0.01


def test_fast_schedule_is_the_papers():
    table = samplers.plan(DIFFUSION, "fast")
    variances = np.array(FAST_VARIANCES[0])
    assert variances[-1] == 0.7  # the paper's choice for T = 200
    gamma_bar = np.cumprod(1 - variances)
    np.testing.assert_allclose(table.signal[::-1] ** 2, gamma_bar, rtol=1e-12)
    np.testing.assert_allclose(table.state[::-1], 1 / np.sqrt(1 - variances), rtol=1e-12)
    np.testing.assert_allclose(
        table.prediction[::-1], -table.state[::-1] * variances / np.sqrt(1 - gamma_bar), rtol=1e-10
    )
    assert table.timestep[-1] == 0  # the paper's smallest variance is the training schedule's


def test_fast_schedule_of_the_smaller_model():
    # Trained with T = 50 and beta up to 0.05, the noise ends at alpha_bar = 0.28: only the paper's other schedule fits.
    table = samplers.plan(Diffusion.linear(50, 1e-4, 0.05), "fast")
    np.testing.assert_allclose(table.signal[0] ** 2, np.prod(1 - np.array(FAST_VARIANCES[1])), rtol=1e-12)


def test_aligned_steps_carry_the_levels_noise():
    for sampler in ("fast", "dpm++"):
        table = samplers.plan(DIFFUSION, sampler, 12)
        trained = np.sqrt(DIFFUSION.alpha_bar)
        below = np.floor(table.timestep).astype(int)
        share = table.timestep - below
        above = np.minimum(below + 1, 199)
        np.testing.assert_allclose((1 - share) * trained[below] + share * trained[above], table.signal, rtol=1e-12)


def test_log_snr_spacing_is_even():
    table = samplers.plan(DIFFUSION, "dpm++", 25)
    half_log_snr = np.log(table.signal / table.noise_level)
    np.testing.assert_allclose(np.diff(half_log_snr), np.diff(half_log_snr).mean(), rtol=1e-9)
    np.testing.assert_allclose(table.timestep[[0, -1]], [199, 0], atol=1e-9)


def test_a_chain_may_start_part_way():
    table = samplers.plan(DIFFUSION, "ddpm", start=49)
    whole = samplers.plan(DIFFUSION, "ddpm")
    for part, column in zip(table, whole, strict=True):
        np.testing.assert_allclose(part, column[-50:], rtol=1e-10)
    assert samplers.plan(DIFFUSION, "dpm++", start=10).timestep.shape == (11,)


@pytest.mark.parametrize("sampler", ["ddpm", "dpm++sde", "fast"])
def test_fresh_noise_can_be_scaled(sampler):
    usual, scaled = (samplers.plan(Diffusion.linear(200, 1e-4, 0.05), sampler, noise_scale=f) for f in (1.0, 0.5))
    assert usual.noise.any()
    np.testing.assert_array_equal(scaled.noise, 0.5 * usual.noise)
    for name in set(usual._fields) - {"noise"}:
        np.testing.assert_array_equal(getattr(scaled, name), getattr(usual, name))
    samplers.plan(DIFFUSION, sampler, 1, noise_scale=0.5)  # has no fresh noise, as the last step of any chain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"sampler": "euler"},
            "unknown sampler 'euler'; choose one of ddpm, ddim, dpm\\+\\+, dpm\\+\\+sde, fast",
        ),
        ({"steps": 0}, "steps is 0; it must be between 1 and 200"),
        ({"steps": 201}, "steps is 201"),
        ({"sampler": "ddim", "eta": 1.5}, "eta is 1.5; it must be between 0 and 1"),
        ({"sampler": "ddpm", "eta": 0.5}, "the sampler 'ddpm' has none"),
        ({"sampler": "dpm++sde", "noise_scale": 2.5}, "noise_scale is 2.5; it must be between 0 and 2"),
        ({"sampler": "dpm++", "noise_scale": 0.9}, "noise_scale is 0.9, but 'dpm\\+\\+' adds no noise"),
        ({"sampler": "ddim", "noise_scale": 0.9}, "'ddim' adds no noise"),
        ({"start": 200}, "the step to start from is 200; it must be between 0 and 199"),
        ({"sampler": "fast", "start": 50}, "starts from pure noise only"),
        ({"spacing": "cosine"}, "unknown spacing 'cosine'"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(UserError, match=message):
        samplers.plan(DIFFUSION, **arguments)


def test_fast_schedule_needs_a_noisy_training_schedule():
    with pytest.raises(UserError, match="trained down to"):
        samplers.plan(Diffusion.linear(20, 1e-4, 0.05), "fast")
