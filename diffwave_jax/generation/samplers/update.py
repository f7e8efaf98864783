"""The one update that every sampler is made of.

Each sampler here is linear in what a step knows: the state, the predicted noise, the clean clip that the two imply,
the clean clip implied one step ago, and fresh noise. A sampler is therefore only a table of weights, one row a step,
and one compiled program serves all of them at any number of steps.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from diffwave_jax.generation.samplers.schedule import Schedule

Column = np.ndarray | jax.Array  # a sampler's table, and that table inside a compiled program


class ChainState(NamedTuple):
    """Where a chain stands.

    Attributes:
      x: (B, L) the audio at the current noise level.
      x0: (B, L) the clean audio predicted in the step before; zeros at the start.
    """

    x: Float[Column, "*batch samples"]
    x0: Float[Column, "*batch samples"]


class SamplerTable(NamedTuple):
    """The weights of each step, (S,) float64 each, noisiest step first.

    Attributes:
      timestep: what the network is told.
      signal, noise_level: the level the step starts from: x = signal x_0 + noise_level epsilon.
      state, data, prediction: weights of x, of the predicted clean audio and of the predicted noise.
      correction: weight of the change of the predicted clean audio since the step before (0 in the first step).
      noise: standard deviation of the fresh noise.
      limit: the state is kept within this of 0 after the step.
      guidance: classifier-free guidance scale of the network's prediction, which `step` gets guided already.
    """

    timestep: Column
    signal: Column
    noise_level: Column
    state: Column
    data: Column
    prediction: Column
    correction: Column
    noise: Column
    limit: Column
    guidance: Column


def sampler_table(schedule: Schedule, **weights: Float[np.ndarray, " steps"]) -> SamplerTable:
    """The table of a sampler on `schedule`, without guidance or limit; weights that are not given are 0."""
    columns = {name: np.zeros(len(schedule.timesteps)) for name in SamplerTable._fields}
    columns |= {
        "timestep": schedule.timesteps,
        "signal": schedule.signal[:-1],
        "noise_level": schedule.noise[:-1],
        "limit": np.full(len(schedule.timesteps), np.inf),
        "guidance": np.ones(len(schedule.timesteps)),
    }
    return SamplerTable(**(columns | weights))


def spliced(noisy: SamplerTable, rest: SamplerTable, step: float) -> SamplerTable:
    """The rows of `noisy` at diffusion step `step` and all noisier ones, of `rest` below; both of one schedule."""
    return SamplerTable(*(np.where(rest.timestep >= step, *columns) for columns in zip(noisy, rest, strict=True)))


def step(
    row: SamplerTable,
    state: ChainState,
    predicted_noise: Float[Column, "*batch samples"],
    noise: Float[Column, "*batch samples"],
) -> ChainState:
    """One step down the schedule.

    Args:
      row: one row of a sampler's table, scalars.
      state: before the step.
      predicted_noise: (B, L) what the network says of (state.x, row.timestep).
      noise: (B, L) standard normal.
    """
    x0 = clean(row, state.x, predicted_noise)
    x = row.state * state.x + row.data * x0 + row.prediction * predicted_noise
    x = x + row.correction * (x0 - state.x0) + row.noise * noise
    return ChainState(x.clip(-row.limit, row.limit), x0)


def clean(
    row: SamplerTable, x: Float[Column, "*batch samples"], predicted_noise: Float[Column, "*batch samples"]
) -> Float[Column, "*batch samples"]:
    """The clean audio (..., L) that predicted noise implies in audio `x` at a row's level."""
    return (x - row.noise_level * predicted_noise) / row.signal


def instead(row: SamplerTable, state: ChainState, x0: Float[Column, "*batch samples"]) -> ChainState:
    """The state after a step that would have predicted other clean audio, the noise being what then remains.

    Args:
      row: the step's row, scalars, without a limit.
      state: after the step.
      x0: (B, L) the other clean audio.
    """
    weight = row.data + row.correction - row.prediction * row.signal / row.noise_level
    return ChainState(state.x + weight * (x0 - state.x0), x0)
