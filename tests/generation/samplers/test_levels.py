"""Levels of one's own choice, and the posterior-mean pass after a chain, beside the formulas written out."""

import numpy as np
import pytest

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation import samplers
from tests.helpers.analytic import Gaussian, Mixture, rows, run

DIFFUSION = Diffusion.linear()
LEVELS = (199, 130, 85, 42)
ALPHA, SIGMA = np.sqrt(DIFFUSION.alpha_bar), np.sqrt(1 - DIFFUSION.alpha_bar)


def test_ddim_at_chosen_levels():
    x, data = np.linspace(-2, 2, 9), Mixture()
    table = samplers.plan(DIFFUSION, "ddim", levels=LEVELS)
    np.testing.assert_array_equal(table.timestep, LEVELS)
    found = run(data, table, x)
    for t, s, row in zip(LEVELS, (*LEVELS[1:], None), rows(table), strict=True):
        noise = data.predicted_noise(x, row)
        clean = (x - SIGMA[t] * noise) / ALPHA[t]
        x = clean if s is None else ALPHA[s] * clean + SIGMA[s] * noise
    np.testing.assert_allclose(found, x, atol=1e-13)  # float64


def test_the_multistep_solver_at_chosen_levels():
    """DPM-Solver++(2M), arXiv 2211.01095, algorithm 2, with h in lambda = log(alpha / sigma)."""
    x, data = np.linspace(-2, 2, 9), Mixture()
    table = samplers.plan(DIFFUSION, "dpm++", levels=LEVELS)
    found, lam = run(data, table, x), np.log(ALPHA / SIGMA)
    before = before_h = None
    for t, s, row in zip(LEVELS, (*LEVELS[1:], None), rows(table), strict=True):
        clean = (x - SIGMA[t] * data.predicted_noise(x, row)) / ALPHA[t]
        if s is None:
            x = clean
            continue
        h = lam[s] - lam[t]
        mixed = clean if before is None else clean + h / (2 * before_h) * (clean - before)
        x = SIGMA[s] / SIGMA[t] * x - ALPHA[s] * np.expm1(-h) * mixed
        before, before_h = clean, h
    np.testing.assert_allclose(found, x, atol=1e-12)  # float64


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_the_usual_levels_given_by_hand_are_the_usual_chain(sampler):
    usual = samplers.plan(DIFFUSION, sampler, 20)
    by_hand = samplers.plan(DIFFUSION, sampler, levels=tuple(usual.timestep.astype(int).tolist()))
    for one, other in zip(usual, by_hand, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm++", "dpm++sde"])
def test_polishing_is_the_mean_of_the_clean_given_the_noisy(sampler):
    data, random = Gaussian(), np.random.default_rng(0)
    table = samplers.plan(DIFFUSION, sampler, 8)
    x, noise = random.standard_normal(16), random.standard_normal((9, 16))
    clean = run(data, table, x, noise[:8])
    # The noise of the chain's last step, which takes none, is that of the pass.
    found = run(data, samplers.polished(table, DIFFUSION, 60), x, noise)
    noisy = ALPHA[60] * clean + SIGMA[60] * noise[7]
    gain = ALPHA[60] * data.std**2 / (ALPHA[60] ** 2 * data.std**2 + SIGMA[60] ** 2)
    np.testing.assert_allclose(found, data.mean + gain * (noisy - ALPHA[60] * data.mean), atol=1e-12)  # float64


def test_the_clamp_of_a_polished_chain_is_on_clean_audio():
    table = samplers.polished(samplers.plan(DIFFUSION, "ddpm", 5, clamp=1.0), DIFFUSION, 60)
    np.testing.assert_array_equal(table.limit, [1, 1, 1, 1, np.inf, 1])
    np.testing.assert_array_equal(table.guidance, np.ones(6))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"levels": (199, 200)}, "levels is 199,200; give diffusion steps between 199 and 0"),
        ({"levels": (-1,)}, "levels is -1; give diffusion steps between 199 and 0"),
        ({"levels": (42, 85)}, "levels is 42,85; give the noisiest first, and each one once"),
        ({"levels": (42, 42)}, "and each one once"),
        ({"levels": (42, 8), "start": 50}, "starts from diffusion step 50, but the first of its levels is 42"),
        ({"levels": LEVELS, "sampler": "fast"}, "the sampler 'fast' has levels of its own"),
    ],
)
def test_mistakes(settings, said):
    with pytest.raises(UserError, match=said):
        samplers.plan(DIFFUSION, **{"sampler": "ddim", **settings})


def test_a_pass_outside_the_schedule():
    with pytest.raises(UserError, match="polish is 200; it must be between 0 and 199"):
        samplers.polished(samplers.plan(DIFFUSION), DIFFUSION, 200)
