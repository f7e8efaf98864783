"""DDIM (Song, Meng and Ermon, arXiv 2010.02502)."""

import numpy as np

from diffwave_jax.generation.samplers.schedule import Schedule
from diffwave_jax.generation.samplers.update import SamplerTable, sampler_table


def ddim(schedule: Schedule, eta: float) -> SamplerTable:
    """Equation 12 with the noise of equation 16: deterministic at eta = 0, ancestral sampling at eta = 1."""
    signal, noise, alpha_bar = schedule.signal, schedule.noise, schedule.alpha_bar
    fresh = eta * noise[1:] / noise[:-1] * np.sqrt(1 - alpha_bar[:-1] / alpha_bar[1:])
    return sampler_table(schedule, data=signal[1:], prediction=np.sqrt(noise[1:] ** 2 - fresh**2), noise=fresh)
