"""Ancestral sampling (Ho et al., arXiv 2006.11239), on all T levels or some of them."""

import numpy as np

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.generation.samplers.schedule import Schedule
from diffwave_jax.generation.samplers.update import SamplerTable, sampler_table


def ddpm(schedule: Schedule) -> SamplerTable:
    """The reverse process of a diffusion whose levels are the schedule's.

    On all T levels it is the reverse process of the released models; on fewer, that of the shorter chain with the same
    marginals (Nichol and Dhariwal, arXiv 2102.09672, section 4).
    """
    beta = 1 - schedule.alpha_bar[:-1] / schedule.alpha_bar[1:]
    noisiest_first = [np.flip(weight) for weight in Diffusion(np.flip(beta)).reverse_coefficients]
    return sampler_table(schedule, **dict(zip(("state", "prediction", "noise"), noisiest_first, strict=True)))
