"""Correctness and speed of the S4 kernels on the GPU that is here.

python -m benchmarks.gpu_measure [--quick] [--tflops T --bandwidth G]

For each implementation that runs here: the largest error against float64, of the kernels relative to the largest |k|
and of the worst gradient relative to its own largest; the time of the spectrum alone and with its gradient (a call
from Python, results left on the card, mean of many in a row); and what share of the card's float32 peak and memory
bandwidth that is. Work is counted as in `benchmarks.gpu_work`, every operation as two, as the peak counts a
fused multiply-add.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import DTypeLike

from benchmarks.gpu_work import KERNELS, Shape, moved_bytes, operations
from diffwave_jax import kernels
from diffwave_jax.kernels.backends import PALLAS, Implementation, best_implementation
from diffwave_jax.kernels.target import Target, target

# Float32 TFLOP/s and GB/s, from NVIDIA's data sheets, by a part of the device's name.
PEAKS = {
    "H200": (67.0, 4800.0),
    "H100 PCIe": (51.0, 2000.0),
    "H100": (67.0, 3350.0),
    "GH200": (67.0, 4000.0),
    "A100": (19.5, 2039.0),
    "A10G": (31.5, 600.0),
    "L40S": (91.6, 864.0),
    "L4": (30.3, 300.0),
    "RTX 4090": (82.6, 1008.0),
    "RTX 3090": (35.6, 936.0),
}
SHAPES = (
    Shape(128, 32, 16000),
    Shape(256, 32, 4000),
    Shape(512, 32, 1000),
    Shape(128, 128, 16000),
    Shape(7, 5, 333),
)
QUICK = (Shape(3, 2, 40),)
# Heads for which float64 is computed: it keeps every (direction, head, node, state).
TRUE_HEADS = 4


class Peaks(NamedTuple):
    """Operations and bytes a second."""

    operations: float
    bytes: float


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 if an implementation is less accurate than it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny shape, to try the script, on a CPU too")
    parser.add_argument("--tflops", type=float, help="the card's float32 peak, where the script does not know it")
    parser.add_argument("--bandwidth", type=float, help="its memory bandwidth in GB/s")
    options = parser.parse_args(arguments)
    here = target()
    if here.platform == "cpu" and not options.quick:
        print("there is no GPU here: install jax[cuda13], or try the script itself with --quick", file=sys.stderr)
        return 2
    peaks = _peaks(options)
    names = implementations(here)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, best implementation {best_implementation(here)}")
    columns = "error of k, gradient  us forward, all  of peak FLOP/s, bytes/s"
    print(f"{'heads, states, length':22} {'implementation':15} {columns}")
    accurate = True
    for shape in QUICK if options.quick else SHAPES:
        truth = true_results(shape)
        for name in names:
            errors = _errors(shape, name, truth)
            times = [_time(function, parameters(shape)) for function in _functions(shape, name)]
            accurate &= errors[0] < 3e-6 and errors[1] < 1e-4
            print(f"{shape[:3]!s:22} {name:15} {_line(shape, errors, times, peaks)}", flush=True)
    print("accurate" if accurate else "NOT ACCURATE: more than 3e-6 for the kernels or 1e-4 for a gradient")
    return 0 if accurate else 1


def implementations(here: Target) -> list[Implementation]:
    """XLA and Pallas's backends that run on this device; on a CPU the one whose interpreter is not too slow."""
    if here.platform == "cpu":
        return ["xla", "triton"]
    needs = {"triton": (8, 0), "mosaic": (9, 0)}
    return ["xla", *(name for name in PALLAS if here.capability >= needs[name])]


def parameters(shape: Shape, dtype: DTypeLike = np.float32) -> list[np.ndarray]:
    """Random dt, w, b, p, c in the ranges of a trained layer, rounded to float32."""
    heads, states = shape.heads, shape.states
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    dt = np.exp(rng.uniform(np.log(1e-3), np.log(1e-1), heads))
    w = -0.5 + 1j * np.pi * (np.arange(states) + rng.uniform(size=(heads, states)))
    p = np.sqrt(np.arange(states) + 0.5) * normal(heads, states)
    arrays = dt, w, np.sqrt(2) * p + normal(heads, states), p, normal(shape.directions, heads, states)
    rounded = [x.astype(np.complex64 if np.iscomplexobj(x) else np.float32) for x in arrays]
    return [x.astype(np.result_type(x, dtype)) for x in rounded]


def true_results(shape: Shape) -> list[np.ndarray]:
    """The first heads' kernels, then the gradient of each of their parameters, in float64 on the CPU."""
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        return _results(_first_heads(parameters(shape, np.float64)), shape.length, "reference")


def _first_heads(arrays: list[np.ndarray]) -> list[np.ndarray]:
    dt, w, b, p, c = arrays
    return [dt[:TRUE_HEADS], w[:TRUE_HEADS], b[:TRUE_HEADS], p[:TRUE_HEADS], c[:, :TRUE_HEADS]]


def _results(arrays: list[np.ndarray], length: int, implementation: Implementation) -> list[np.ndarray]:
    """The kernels, and the gradients of a fixed random linear function of them."""
    shape = *arrays[-1].shape[:2], length
    weights = np.random.default_rng(1).normal(size=shape).astype(arrays[0].dtype)

    def loss(arrays):
        kernel = kernels.dplr_kernel(*arrays, length=length, implementation=implementation)
        return jnp.sum(weights * kernel), kernel

    gradients, kernel = jax.jit(jax.grad(loss, has_aux=True))(arrays)
    return [np.asarray(x) for x in (kernel, *gradients)]


def _errors(shape: Shape, implementation: Implementation, truth: list[np.ndarray]) -> tuple[float, float]:
    found = _results(_first_heads(parameters(shape)), shape.length, implementation)
    errors = [np.max(np.abs(x - y)) / np.max(np.abs(y)) for x, y in zip(found, truth, strict=True)]
    return errors[0], max(errors[1:])


def _functions(shape: Shape, implementation: Implementation) -> tuple[Callable, Callable]:
    """The spectrum, and the spectrum with its gradient."""

    def spectrum(*arrays):
        return kernels.dplr_spectrum(*arrays, length=shape.length, implementation=implementation)

    def both(*arrays):
        value, pull_back = jax.vjp(spectrum, *arrays)
        return pull_back(jnp.conj(value))

    return jax.jit(spectrum), jax.jit(both)


def _time(function: Callable, arrays) -> float:
    """Seconds a call, calls queued one behind the other for about a second."""
    arrays = jax.device_put(arrays)
    jax.block_until_ready(function(*arrays))
    start = time.perf_counter()
    jax.block_until_ready(function(*arrays))
    repeats = int(np.clip(1 / (time.perf_counter() - start), 1, 1000))
    start = time.perf_counter()
    for _ in range(repeats):
        result = function(*arrays)
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / repeats


def _line(shape, errors, times, peaks: Peaks | None) -> str:
    text = f"{errors[0]:8.1e} {errors[1]:8.1e} {1e6 * times[0]:14.1f} {1e6 * times[1]:10.1f}"
    if peaks is None:
        return text
    work = sum(2 * operations(shape, kernel) for kernel in KERNELS) / peaks.operations
    traffic = sum(moved_bytes(shape, kernel) for kernel in KERNELS) / peaks.bytes
    return text + f" {100 * work / times[1]:14.1f}% {100 * traffic / times[1]:8.1f}%"


def _peaks(options) -> Peaks | None:
    """The card's peaks, as given or else by its name; None if neither tells."""
    kind = jax.devices()[0].device_kind
    known = next((peaks for part, peaks in PEAKS.items() if part in kind), (None, None))
    tflops, bandwidth = options.tflops or known[0], options.bandwidth or known[1]
    return Peaks(tflops * 1e12, bandwidth * 1e9) if tflops and bandwidth else None


if __name__ == "__main__":
    sys.exit(main())
