"""Which noise levels a sampler visits, and what the network is told at each.

A model is trained at T levels; a sampler may visit fewer. The network takes a fractional step between two trained ones
("aligned" in DiffWave, arXiv 2009.09761, appendix B), so a level need not be one of the T.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Integer

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError

# DiffWave, section 5.1: six variances for the model trained with T = 200 (LARGE), and for the one with T = 50 (BASE).
FAST_VARIANCES = ((1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.7), (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5))


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """The levels of a chain of S steps, noisiest first.

    Attributes:
      timesteps: (S,) float64, 0-based and possibly fractional: what the network is told.
      alpha_bar: (S + 1,) float64, the share of the signal's power at each level; the last one is 1, the clean clip.
    """

    timesteps: Float64[np.ndarray, " steps"]
    alpha_bar: Float64[np.ndarray, " levels"]

    @property
    def signal(self) -> Float64[np.ndarray, " levels"]:
        """(S + 1,) what the clean clip is multiplied by at each level."""
        return np.sqrt(self.alpha_bar)

    @property
    def noise(self) -> Float64[np.ndarray, " levels"]:
        """(S + 1,) standard deviation of the noise at each level; the last is 0."""
        return np.sqrt(1 - self.alpha_bar)


def uniform(diffusion: Diffusion, steps: int, start: int) -> Schedule:
    """Trained levels, evenly spaced in t.

    Args:
      diffusion: the schedule the model was trained with.
      steps: how many levels, 1 to `start + 1`.
      start: the 0-based step of the noisiest; the least noisy is step 0.
    """
    timesteps = np.rint(np.linspace(start, 0, steps))
    return _down_to_clean(timesteps, diffusion.alpha_bar[timesteps.astype(int)])


def log_snr(diffusion: Diffusion, steps: int, start: int) -> Schedule:
    """Levels evenly spaced in log(signal / noise), as suits an exponential integrator.

    DPM-Solver, arXiv 2206.00927, section 3.4.

    Args:
      diffusion: the schedule the model was trained with.
      steps: how many levels, at least 1.
      start: the 0-based step of the noisiest; the least noisy is step 0.
    """
    ends = _log_snr_of(diffusion.alpha_bar[[start, 0]])
    alpha_bar = _alpha_bar_of(np.linspace(ends[0], ends[1], steps))
    return _down_to_clean(align(diffusion, alpha_bar), alpha_bar)


def fast(diffusion: Diffusion, steps: int, start: int) -> Schedule:
    """DiffWave's fast schedule (arXiv 2009.09761, section 5.1 and appendix B): six levels, steps aligned to training.

    The paper gives one schedule for T = 200 and one for T = 50: taken is the noisier that the training schedule
    reaches. For another number of steps than six, its levels are interpolated in log(signal / noise).

    Args:
      diffusion: the schedule the model was trained with.
      steps: how many levels, at least 1.
      start: the 0-based step to start from, which must be the last, T - 1.

    Raises:
      UserError: the chain does not start from noise, or the training schedule stays below either schedule.
    """
    if start != diffusion.num_steps - 1:
        raise UserError("the fast schedule starts from pure noise only; use ddpm, ddim or dpm++ to start part-way")
    noisiest = diffusion.alpha_bar[-1]
    for variances in FAST_VARIANCES:
        alpha_bar = np.cumprod(1 - np.array(variances))[::-1]
        if alpha_bar[0] >= noisiest:
            break
    else:
        raise UserError(
            f"the fast schedule begins where {alpha_bar[0]:.3g} of the signal's power is left, but this model was "
            f"trained down to {noisiest:.3g} only; use ddpm, ddim or dpm++"
        )
    if steps != len(alpha_bar):
        where = np.linspace(0, len(alpha_bar) - 1, steps)
        alpha_bar = _alpha_bar_of(np.interp(where, np.arange(len(alpha_bar)), _log_snr_of(alpha_bar)))
    return _down_to_clean(align(diffusion, alpha_bar), alpha_bar)


def explicit(diffusion: Diffusion, levels: Sequence[int] | Integer[np.ndarray, " steps"]) -> Schedule:
    """Trained levels of one's own choice.

    Args:
      diffusion: the schedule the model was trained with, T levels.
      levels: 0-based diffusion steps, noisiest first, each lower than the one before.

    Raises:
      UserError: none at all, one outside 0 to T - 1, or one that is not lower than the one before.
    """
    timesteps = np.asarray(levels, int)
    shown, most = ",".join(map(str, levels)), diffusion.num_steps - 1
    if not timesteps.size or timesteps.max() > most or timesteps.min() < 0:
        raise UserError(f"levels is {shown or 'empty'}; give diffusion steps between {most} and 0")
    if np.any(np.diff(timesteps) >= 0):
        raise UserError(f"levels is {shown}; give the noisiest first, and each one once")
    return _down_to_clean(timesteps, diffusion.alpha_bar[timesteps])


def align(diffusion: Diffusion, alpha_bar: Float64[np.ndarray, " levels"]) -> Float64[np.ndarray, " levels"]:
    """The fractional training step of each level: linear in sqrt(alpha_bar) (DiffWave, appendix B)."""
    trained = np.sqrt(diffusion.alpha_bar)
    return np.interp(-np.sqrt(alpha_bar), -trained, np.arange(len(trained), dtype=np.float64))


SPACINGS = {"uniform": uniform, "log_snr": log_snr, "fast": fast}


def _down_to_clean(timesteps: np.ndarray, alpha_bar: np.ndarray) -> Schedule:
    return Schedule(np.asarray(timesteps, np.float64), np.append(alpha_bar, 1.0))


def _log_snr_of(alpha_bar: np.ndarray) -> np.ndarray:
    return 0.5 * np.log(alpha_bar / (1 - alpha_bar))


def _alpha_bar_of(half_log_snr: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-2 * half_log_snr))
