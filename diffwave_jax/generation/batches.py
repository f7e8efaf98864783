"""Many chains, in batches that fit the devices."""

import dataclasses
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jaxtyping import Float, Integer

from diffwave_jax.errors import UserError
from diffwave_jax.generation.chain import Chain, Conditions, clip_keys, start_noise
from diffwave_jax.generation.samplers import ChainState, SamplerTable, instead
from diffwave_jax.jax_settings import standard_jax
from diffwave_jax.kernels.rounding import divide_up, round_up
from diffwave_jax.models.conditioner import Condition

OnStep = Callable[[int, int], None]
Correct = Callable[[np.ndarray, np.ndarray], np.ndarray]

FIRST_GUESS = 16  # clips a device; enough to keep the cores of a CPU busy, so a CPU never gets more
LARGEST = 512
MEMORY_SHARE = 0.8  # the rest is left to the allocator's gaps and to others


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """n chains to run.

    Attributes:
      table: the sampler's weights, S rows.
      rows: which of them.
      seed: of the clips' randomness.
      indices: (n,) the clips' indices, which choose their randomness.
      length: samples of a clip.
      labels: (n,) see `diffwave_jax.models.labels`; None if the network is unconditional.
      start: (n, length) the states to start from; None for each clip's own start noise.
      condition: n clips' mels (n, F, M) and frames (n,), for a vocoder; None for other networks.
      correct: from the clean audio (b, length) that a step predicts, and which clips those are, to what the chain goes
        on with; None to go on with it as it is.
    """

    table: SamplerTable
    rows: range
    seed: int
    indices: Integer[np.ndarray, " clips"]
    length: int
    labels: Integer[np.ndarray, " clips"] | None = None
    start: Float[np.ndarray, "clips samples"] | None = None
    condition: Condition | None = None
    correct: Correct | None = None


def reverse(
    chain: Chain, job: Job, *, batch_size: int | None = None, on_step: OnStep | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Runs a job's chains.

    Args:
      chain: the network's compiled chain.
      job: what to run.
      batch_size: chains at a time, rounded up to a multiple of the devices; None for what their memory holds.
      on_step: called as `on_step(done, total)` after each step of each batch.

    Yields:
      (b,) indices and their final states (b, length) float32.

    Raises:
      UserError: a batch size below 1.
    """
    n = len(job.indices)
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    guided = bool(chain.guided(job.table, job.labels).any())
    size = batch_size or fitting_batch_size(chain, n, job.length, guided=guided)
    size = round_up(size, chain.num_devices)
    starts = range(0, n, size)
    steps = _Steps(len(starts) * len(job.rows), on_step)
    for start in starts:
        # The last batch is filled up with copies of the last clip, so that the program's shape stays the same.
        chosen = np.minimum(np.arange(start, start + size), n - 1)
        state = _run(chain, job, chosen, steps)
        yield job.indices[start : start + size], np.asarray(state.x)[: n - start]


@standard_jax()
def _run(chain: Chain, job: Job, chosen: np.ndarray, steps: "_Steps") -> ChainState:
    keys = clip_keys(job.seed, job.indices[chosen])
    labels = None if job.labels is None else jnp.asarray(job.labels[chosen], jnp.int32)
    x = start_noise(keys, job.length) if job.start is None else jnp.asarray(job.start[chosen])
    condition = None
    if job.condition is not None:
        told = jax.tree.map(lambda part: jnp.asarray(part[chosen]), job.condition)
        condition = chain.condition(told, job.length)
    state, clips = ChainState(x, jnp.zeros_like(x)), Conditions(keys, labels, condition)
    if steps.on_step is None and job.correct is None:
        return chain.run(job.table, state, clips, job.rows)
    for row in job.rows:
        state = chain.run(job.table, state, clips, range(row, row + 1))
        state = _corrected(job, chosen, row, state)
        steps.count(state)
    return state


def _corrected(job: Job, chosen: np.ndarray, row: int, state: ChainState) -> ChainState:
    """The state after a row as if it had predicted what `job.correct` makes of its clean audio."""
    if job.correct is None:
        return state
    weights = jax.tree.map(lambda column: column[row], job.table)
    return instead(weights, state, jnp.asarray(job.correct(np.asarray(state.x0), chosen)))


class _Steps:
    """Counts finished steps for a callback."""

    def __init__(self, total: int, on_step: OnStep | None):
        self.on_step, self._total, self._done = on_step, total, 0

    def count(self, state: ChainState) -> None:
        jax.block_until_ready(state)
        self._done += 1
        if self.on_step is not None:
            self.on_step(self._done, self._total)


def fitting_batch_size(chain: Chain, n: int, length: int, *, guided: bool) -> int:
    """The batch size for `n` clips that the devices' free memory holds, a multiple of the number of devices."""
    devices = chain.num_devices
    needed = divide_up(n, devices)
    guess = min(needed, FIRST_GUESS)
    per_clip = max(1, chain.memory(guess * devices, length, guided=guided) // guess)
    fitting = int(MEMORY_SHARE * free_memory(jax.local_devices()[0])) // per_clip
    largest = FIRST_GUESS if jax.default_backend() == "cpu" else LARGEST
    return max(1, min(needed, fitting, largest)) * devices


def free_memory(device: jax.Device) -> int:  # pyright: ignore[reportInvalidTypeForm] - a variable in JAX
    """Bytes a device can still give; for a CPU device its share of the machine's free memory."""
    statistics = device.memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return psutil.virtual_memory().available // jax.local_device_count()
