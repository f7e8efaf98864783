"""DPM-Solver++(2M) and its SDE form (Lu et al., arXiv 2211.01095)."""

import numpy as np

from diffwave_jax.generation.samplers.schedule import Schedule
from diffwave_jax.generation.samplers.update import SamplerTable, sampler_table


def dpm_solver(schedule: Schedule, eta: float) -> SamplerTable:
    """The second-order multistep solver in the clean audio, exact for a constant prediction.

    At eta = 0 it solves the probability-flow ODE (algorithm 2), at eta = 1 the reverse SDE (appendix B, "SDE-DPM-
    Solver++(2M)"); in between, an SDE with eta times its noise. The first and the last step are of first order: the
    first has no step before it, and the last reaches zero noise, infinitely far away in log(signal / noise).
    """
    signal, noise = schedule.signal, schedule.noise
    shrink = signal[:-1] * noise[1:] / (noise[:-1] * signal[1:])  # exp(-h), h the step in log(signal / noise)
    to_data = signal[1:] * (1 - shrink ** (1 + eta))
    return sampler_table(
        schedule,
        state=noise[1:] / noise[:-1] * shrink**eta,
        data=to_data,
        correction=to_data * _half_inverse_ratio(shrink),
        noise=noise[1:] * np.sqrt(1 - shrink ** (2 * eta)),
    )


def _half_inverse_ratio(shrink: np.ndarray) -> np.ndarray:
    """(S,) half of this step over the step before, both in log(signal / noise); 0 for the first and the last."""
    half = np.zeros_like(shrink)
    inner = -np.log(shrink[:-1])
    half[1:-1] = 0.5 * inner[1:] / inner[:-1]
    return half
