"""Compiles our kernels and SaShiMi's training step for an H100 and an A100, neither of which need be there.

python -m benchmarks.gpu_compile_gate [--skip-step]

Prints every kernel's registers, shared memory, spills and predicted time (see `benchmarks.gpu_kernels`) and the
step's device memory. Exits with status 1 if a kernel spills registers, stores less than 16 bytes at a time where it
writes spectra, or is predicted to take longer than it should, or if the step needs too much memory.
benchmarks/gpu_compile_gate.sh runs it in an environment of its own.
"""

# Before jax: it sets XLA's flags.
from benchmarks.gpu_compiler import CARDS, H100, Card  # isort: skip

import argparse
import sys

from benchmarks.gpu_kernels import compile_cauchy, compile_kernels, predict
from benchmarks.gpu_machine_code import Kernel, kernels
from benchmarks.gpu_training_step import compile_step
from benchmarks.gpu_work import Shape
from diffwave_jax.kernels.backends import Implementation

FULL_SIZE = Shape(128, 32, 16000)
# One state, few nodes, one direction, no multiple of anything; 128 stored states.
SHAPES = (FULL_SIZE, Shape(3, 1, 37), Shape(7, 5, 333, 1), Shape(5, 128, 4001))

BATCH_SIZE = 16
# The step's memory on one 80 GB card, float32, without rematerialisation.
LARGEST_STEP = 36e9
# Seconds on an H100 at full size, for the forward kernel and for both backward kernels together.
LONGEST_FORWARD, LONGEST_BACKWARD = 48e-6, 140e-6


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--skip-step", action="store_true", help="the kernels alone")
    arguments = parser.parse_args()
    problems = []
    print(
        f"{'card':5} {'backend':7} {'heads, states, length, directions':34} {'kernel':22} registers shared spills  us"
    )
    for card in CARDS:
        for implementation in card.implementations:
            for shape in SHAPES:
                problems += _check_shape(card, implementation, shape)
            problems += _check_cauchy(card, implementation)
        if not arguments.skip_step:
            problems += _check_step(card)
    print("\n".join(problems) or "no spills, wide stores, within the bounds")
    return 1 if problems else 0


def _check_shape(card: Card, implementation: Implementation, shape: Shape) -> list[str]:
    problems, times = [], {}
    for kernel in compile_kernels(card, implementation, shape):
        times[kernel.name] = predict(card, implementation, shape, kernel).time
        _print(card, implementation, str(tuple(shape)), kernel, f"{1e6 * times[kernel.name]:6.1f}")
        problems += _spills(card, implementation, kernel)
        if shape == FULL_SIZE and "states" not in kernel.name and not kernel.wide_stores():
            problems.append(f"{card.name} {implementation} {kernel.name}: stores of less than 16 bytes")
    if card == H100 and shape == FULL_SIZE:
        problems += _too_long(implementation, times)
    return problems


def _too_long(implementation: Implementation, times: dict[str, float]) -> list[str]:
    forward = sum(time for name, time in times.items() if "forward" in name)
    backward = sum(time for name, time in times.items() if "backward" in name)
    return [
        f"h100 {implementation} {name}: {1e6 * time:.1f} us predicted, at most {1e6 * bound:.0f} expected"
        for name, time, bound in (("forward", forward, LONGEST_FORWARD), ("backward", backward, LONGEST_BACKWARD))
        if time > bound
    ]


def _check_cauchy(card: Card, implementation: Implementation) -> list[str]:
    problems = []
    for kernel in compile_cauchy(card, implementation):
        _print(card, implementation, "cauchy", kernel, "")
        problems += _spills(card, implementation, kernel)
    return problems


def _check_step(card: Card) -> list[str]:
    compiled = compile_step(card, BATCH_SIZE, s4_implementation=card.implementations[0])
    size, problems = compiled.device_bytes(), []
    for file in compiled.ptx:
        for kernel in kernels(file, "dplr_"):
            _print(card, card.implementations[0], f"training step, batch {BATCH_SIZE}", kernel, "")
            problems += _spills(card, card.implementations[0], kernel)
    print(f"{card.name}: training step, batch {BATCH_SIZE}: {size / 1e9:.1f} GB of device memory", flush=True)
    if size > LARGEST_STEP:
        problems.append(f"{card.name}: the step needs {size / 1e9:.1f} GB, at most {LARGEST_STEP / 1e9:.0f} expected")
    return problems


def _spills(card: Card, implementation: Implementation, kernel: Kernel) -> list[str]:
    return [f"{card.name} {implementation} {kernel.name}: {kernel.spilled} bytes spilled"] if kernel.spilled else []


def _print(card: Card, implementation: Implementation, what: str, kernel: Kernel, time: str) -> None:
    numbers = f"{kernel.registers:9} {kernel.shared_bytes:6} {kernel.spilled:6} {time}"
    print(f"{card.name:5} {implementation:7} {what:34} {kernel.name:22} {numbers}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
