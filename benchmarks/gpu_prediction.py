"""The kernels' time, measured for XLA here and predicted for GPUs, and their memory as the number of states grows.

python -m benchmarks.gpu_prediction

Needs requirements-gpu.txt, no GPU. `benchmarks.gpu_kernels` says how a time is predicted. XLA's time is the best of
three on this machine's CPU. The two floors are what the card's float32 units and its memory would take alone.
"""

# Before jax: it sets XLA's flags.
from benchmarks.gpu_compiler import CARDS, H100, Card, compile_on, mesh  # isort: skip

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks.gpu_kernels import Prediction, compile_kernels, predict, value_and_gradient
from benchmarks.gpu_work import Shape
from diffwave_jax import kernels
from diffwave_jax.kernels.backends import Implementation

# SaShiMi's three stages with the released models' l_max and with each stage's own, and four times the states.
SHAPES = (
    Shape(128, 32, 16000),
    Shape(256, 32, 16000),
    Shape(512, 32, 16000),
    Shape(256, 32, 4000),
    Shape(512, 32, 1000),
    Shape(128, 128, 16000),
)
STATES = (8, 32, 128)


def main() -> None:
    """Prints the tables."""
    print("microseconds; forward, then forward and gradient (XLA) or gradient alone (GPU)")
    print("heads, states, length   XLA on this CPU")
    for shape in SHAPES:
        print(f"{shape[:3]!s:22} {_xla(shape)}", flush=True)
    for card in CARDS:
        for implementation in card.implementations:
            print(f"\n{card.name}, {implementation}       forward: predicted, floors of arithmetic, of bytes; gradient")
            for shape in SHAPES:
                print(f"{shape[:3]!s:22} {_predicted(card, implementation, shape)}", flush=True)
    print("\nMB of temporary memory on an h100, forward and gradient, 128 heads, length 16000")
    for implementation in ("xla", *H100.implementations):
        sizes = [f"{states} states {_memory(implementation, states) / 1e6:.1f}" for states in STATES]
        print(f"{implementation:7} {', '.join(sizes)}; heads x states x nodes at 128: {4 * 128 * 128 * 8001 / 1e6:.0f}")


def _xla(shape: Shape) -> str:
    parameters = _parameters(shape)
    forward = jax.jit(lambda *x: kernels.dplr_spectrum(*x, length=shape.length, implementation="xla"))
    both = jax.jit(value_and_gradient(shape, "xla"))
    return f"{1e6 * _best(forward, parameters):8.0f} {1e6 * _best(both, parameters):8.0f}"


def _parameters(shape: Shape) -> list[jax.Array]:
    """Random, in the ranges of a trained layer."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    states = (shape.heads, shape.states)
    dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), shape.heads))
    w = -0.5 + 1j * np.pi * np.arange(shape.states) + np.zeros(states)
    p = normal(*states)
    parameters = dt, w, np.sqrt(2) * p, p, normal(shape.directions, *states)
    return [jnp.asarray(x, struct.dtype) for x, struct in zip(parameters, shape.arguments(), strict=True)]


def _best(function: Callable, arguments) -> float:
    times = []
    jax.block_until_ready(function(*arguments))
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def _predicted(card: Card, implementation: Implementation, shape: Shape) -> str:
    predictions = {
        kernel.name: predict(card, implementation, shape, kernel)
        for kernel in compile_kernels(card, implementation, shape)
    }
    forward = predictions.pop("dplr_forward")
    backward = Prediction(*(sum(x) for x in zip(*predictions.values(), strict=True)))
    return "   ".join(" ".join(f"{1e6 * x:7.1f}" for x in prediction) for prediction in (forward, backward))


def _memory(implementation: Implementation, states: int) -> int:
    shape = Shape(128, states, 16000)
    sharding = NamedSharding(mesh(H100), PartitionSpec())
    arguments = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) for x in shape.arguments()]
    compiled = compile_on(H100, value_and_gradient(shape, implementation), *arguments)
    return compiled.memory().temp_size_in_bytes


if __name__ == "__main__":
    main()
