"""Samplers: from noise to audio in any number of steps up to T, behind one interface.

`plan` turns a name and a number of steps into a table of weights; `step` applies one row of it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation.samplers.ddim import ddim
from diffwave_jax.generation.samplers.ddpm import ddpm
from diffwave_jax.generation.samplers.dpm_solver import dpm_solver
from diffwave_jax.generation.samplers.schedule import FAST_VARIANCES, SPACINGS, Schedule, explicit
from diffwave_jax.generation.samplers.update import (
    ChainState,
    SamplerTable,
    clean,
    instead,
    sampler_table,
    spliced,
    step,
)

__all__ = [
    "SAMPLERS",
    "SPACINGS",
    "ChainState",
    "Sampler",
    "SamplerTable",
    "Schedule",
    "clean",
    "instead",
    "plan",
    "spliced",
    "step",
    "usual_steps",
]

Number = TypeVar("Number", bound=float)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """One way to sample.

    Attributes:
      coefficients: `(schedule, eta) -> SamplerTable`.
      spacing: name of its usual schedule, one of `SPACINGS`.
      steps: its usual number of steps; None for all T.
      eta: its usual share of fresh noise; None if that is not for choice.
      ancestral: whether it is the reverse process of training, which some models want clamped.
    """

    coefficients: Callable[[Schedule, float], SamplerTable]
    spacing: str
    steps: int | None
    eta: float | None = None
    ancestral: bool = False


SAMPLERS = {
    "ddpm": Sampler(lambda schedule, eta: ddpm(schedule), "uniform", None, ancestral=True),
    "ddim": Sampler(ddim, "uniform", 50, eta=0.0),
    "dpm++": Sampler(lambda schedule, eta: dpm_solver(schedule, 0.0), "log_snr", 25),
    "dpm++sde": Sampler(dpm_solver, "log_snr", 25, eta=1.0),
    "fast": Sampler(lambda schedule, eta: ddpm(schedule), "fast", len(FAST_VARIANCES[0]), ancestral=True),
}


def plan(
    diffusion: Diffusion,
    sampler: str = "dpm++",
    steps: int | None = None,
    *,
    eta: float | None = None,
    noise_scale: float = 1.0,
    start: int | None = None,
    spacing: str | None = None,
    levels: Sequence[int] = (),
    clamp: float = 0.0,
) -> SamplerTable:
    """The table of weights of a chain.

    Args:
      diffusion: the schedule the model was trained with, T levels.
      sampler: a name in `SAMPLERS`.
      steps: evaluations of the network, 1 to `start + 1`; None for the sampler's usual number.
      eta: share of fresh noise, 0 to 1, for the samplers that have one ("ddim", "dpm++sde").
      noise_scale: factor on the standard deviation of the fresh noise of each step, 0 to 2 (S_noise of Karras et al.,
        arXiv 2206.00364, algorithm 2).
      start: the level the chain starts from, T - 1 if None.
      spacing: a name in `SPACINGS`; None for the sampler's usual one.
      levels: the diffusion steps themselves, noisiest first, in place of `steps` of a spacing; none for that.
      clamp: ancestral samplers keep the noisy audio within this of 0 after every step, as lmnt-com/diffwave; 0 for no
        limit. It would break the assumptions of the others.

    Returns:
      `SamplerTable` with one row a step.

    Raises:
      UserError: an unknown name, or a number out of its range.
    """
    chosen = _look_up(SAMPLERS, sampler, "sampler")
    first = start
    start = _in_range(
        diffusion.num_steps - 1 if start is None else start, 0, diffusion.num_steps - 1, "the step to start from"
    )
    usual = len(levels) or usual_steps(sampler, start + 1)
    steps = _in_range(usual if steps is None else steps, 1, start + 1, "steps")
    if eta is not None and chosen.eta is None:
        raise UserError(f"eta is {eta}, but the sampler {sampler!r} has none; leave it out, or use ddim or dpm++sde")
    eta = _in_range(chosen.eta or 0.0 if eta is None else eta, 0, 1, "eta")
    make_schedule = _look_up(SPACINGS, spacing or chosen.spacing, "spacing")
    if levels:
        _check_levels(levels, sampler, first)
    schedule = explicit(diffusion, levels) if levels else make_schedule(diffusion, steps, start)
    table = chosen.coefficients(schedule, eta)
    if noise_scale != 1 and steps > 1 and not table.noise.any():  # a last step never adds noise
        raise UserError(f"noise_scale is {noise_scale}, but {sampler!r} adds no noise here; leave it out")
    if clamp and chosen.ancestral:
        table = table._replace(limit=np.full(len(table.limit), clamp))
    return table._replace(noise=_in_range(noise_scale, 0, 2, "noise_scale") * table.noise)


def _check_levels(levels: Sequence[int], sampler: str, start: int | None) -> None:
    """UserError where a chain cannot have levels of one's own, or other ones than these."""
    if SAMPLERS[sampler].spacing == "fast":
        raise UserError(f"the sampler {sampler!r} has levels of its own; leave levels out, or use ddpm, ddim or dpm++")
    if start is not None and levels[0] != start:
        raise UserError(f"the chain starts from diffusion step {start}, but the first of its levels is {levels[0]}")


def polished(table: SamplerTable, diffusion: Diffusion, level: int) -> SamplerTable:
    """A chain followed by one posterior-mean pass: its clip with the noise of `level`, and what is clean in that.

    E[x_0 | x_t] leaves out what differs from draw to draw: harmonics gain, and the pauses take up noise. The last step
    of a chain adds no noise of its own, so that it can add the pass's.

    Args:
      table: a whole chain, which ends in clean audio.
      diffusion: the schedule the model was trained with, T levels.
      level: a 0-based diffusion step.

    Returns:
      The table with a row more, not guided.

    Raises:
      UserError: a level outside 0 to T - 1.
    """
    level = _in_range(level, 0, diffusion.num_steps - 1, "polish")
    schedule = explicit(diffusion, [level])
    last = sampler_table(schedule, data=np.ones(1))._replace(limit=table.limit[-1:])
    weights = ("state", "data", "prediction", "correction")
    scaled = {name: _last_times(getattr(table, name), schedule.signal[0]) for name in weights}
    noise = np.append(table.noise[:-1], schedule.noise[0])
    limit = np.append(table.limit[:-1], np.inf)
    before = table._replace(**scaled, noise=noise, limit=limit)
    return SamplerTable(*map(np.append, before, last))


def _last_times(column: np.ndarray, factor: float) -> np.ndarray:
    return np.append(column[:-1], factor * column[-1])


def usual_steps(sampler: str, levels: int) -> int:
    """The sampler's usual number of steps over as many levels; UserError for an unknown name."""
    usual = _look_up(SAMPLERS, sampler, "sampler").steps
    return levels if usual is None else min(usual, levels)


def _look_up(table: dict, name: str, what: str):
    if name not in table:
        raise UserError(f"unknown {what} {name!r}; choose one of {', '.join(table)}")
    return table[name]


def _in_range(value: Number, low: float, high: float, what: str) -> Number:
    if not low <= value <= high:
        raise UserError(f"{what} is {value}; it must be between {low} and {high}")
    return value
