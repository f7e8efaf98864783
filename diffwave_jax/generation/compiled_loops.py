"""Many streams on a CPU, by loops that Numba compiles, a few streams to a thread: `Autoregression` for that device.

XLA on CPU starts some hundred operations for a sample, each over in microseconds, and cannot keep what a layer reads in
a core's own cache. One C function goes through all samples of a few streams; no two of them share anything but weights,
so that the processors never wait for each other.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from numba import types

from diffwave_jax.generation.autoregression import Steps
from diffwave_jax.generation.drawing import Sharpness
from diffwave_jax.kernels.cpu import streams as loops
from diffwave_jax.kernels.cpu.machine_code import compile_function
from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.models.packed import Packed
from diffwave_jax.models.stepping import START

TOGETHER = 8  # streams that a thread takes at a time: they share what is read of the weights, and their states


class LoopState(NamedTuple):
    """What B streams keep, changed in place.

    Attributes:
      network: (B, state size) float32.
      last: (B,) int64, the last tokens.
    """

    network: np.ndarray
    last: np.ndarray


class LoopAutoregression:
    """A network's recurrence on the processors of this machine; its methods are those of `Autoregression`."""

    compiled_by_size = False

    def __init__(self, packed: Packed):
        self._packed = packed
        self._threads = _processors()
        self._pool = ThreadPoolExecutor(self._threads)

    @property
    def num_devices(self) -> int:
        """One: the machine."""
        return 1

    def start(self, streams: int) -> LoopState:
        """The state before the first sample."""
        return LoopState(np.zeros((streams, self._packed.state_size), np.float32), np.full(streams, START, np.int64))

    def run(
        self, state: LoopState, given: np.ndarray, uniforms: jax.Array, sharpness: Sharpness | None = None
    ) -> tuple[LoopState, Steps]:
        """The next T samples of every stream, see `Autoregression.run`; the state is changed in place."""
        uniform = np.asarray(uniforms)
        sharp = np.asarray(() if sharpness is None else sharpness, np.float32)
        streams = given.shape[1]
        together = min(TOGETHER, divide_up(streams, self._threads))
        parts = [slice(start, min(start + together, streams)) for start in range(0, streams, together)]
        work = functools.partial(self._run_part, state, given, uniform, sharp)
        done = list(self._pool.map(work, parts))
        return state, Steps(*(np.concatenate(column, axis=1) for column in zip(*done, strict=True)))

    def _run_part(self, state, given, uniforms, sharpness, part) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and log-probabilities of some of the streams."""
        plan, weights = self._packed
        network, last = state.network[part], state.last[part]
        tokens = np.ascontiguousarray(given[:, part], np.int64)
        uniform = np.ascontiguousarray(uniforms[:, part])
        probability = np.empty(tokens.shape, np.float32)
        arrays = [weights, network, last, tokens, uniform, probability, sharpness]
        addresses = [array.ctypes.data for array in arrays]
        call = np.array([plan.ctypes.data, plan.size, *addresses, sharpness.size, *tokens.shape[::-1]], np.int64)
        _machine_code().ctypes(call.ctypes.data)
        return tokens.astype(np.int32), probability


@functools.cache
def _machine_code():
    return compile_function(loops.advance_part, types.intp, types.intp)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
