"""S4 kernels on this CPU, by Numba's loops and by XLA's, turn and turn about: `python benchmarks/cpu_kernels.py`."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.gpu_measure import SHAPES, parameters
from benchmarks.gpu_work import Shape
from diffwave_jax.kernels import dplr_spectrum
from diffwave_jax.kernels.backends import Implementation

COMPARED: tuple[Implementation, ...] = ("numba", "xla")


def main(rounds: int = 10) -> None:
    """Prints milliseconds, the least of all rounds, of the spectra and of these with their gradient."""
    for shape in SHAPES[:3]:
        calls = {name: calls_of(shape, name) for name in COMPARED}
        for what in range(2):
            numba, xla = fastest([calls[name][what] for name in calls], rounds)
            name = ("forward", "forward and gradient")[what]
            print(
                f"{shape.heads} heads, length {shape.length}, {name}: {numba:.1f} ms, XLA {xla / numba:.2f} times that"
            )


def calls_of(shape: Shape, implementation: Implementation) -> tuple[Callable[[], object], Callable[[], object]]:
    """The spectra, and these with the gradient of every parameter."""
    arguments = [jnp.asarray(x) for x in parameters(shape)]
    spectrum = partial(dplr_spectrum, length=shape.length, implementation=implementation)
    cotangent = 1.5 * jax.jit(spectrum)(*arguments)

    def with_gradient(cotangent, *arguments):
        value, pull_back = jax.vjp(spectrum, *arguments)
        return value, pull_back(cotangent)

    return partial(jax.jit(spectrum), *arguments), partial(jax.jit(with_gradient), cotangent, *arguments)


def fastest(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Milliseconds of each."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds + 1):  # the first compiles
        for i, call in enumerate(calls):
            start = time.perf_counter()
            jax.block_until_ready(call())
            best[i] = min(best[i], 1e3 * (time.perf_counter() - start))
    return best


if __name__ == "__main__":
    main()
