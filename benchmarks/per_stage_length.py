"""What `convert_torch_ckpt.py --per-stage-length` gains and costs on a full-size SaShiMi of fresh random weights.

python -m benchmarks.per_stage_length
"""

import time

import jax
import numpy as np
from flax import nnx

from diffwave_jax.convert import length
from diffwave_jax.convert.commands import output_difference
from diffwave_jax.convert.contents import Contents
from diffwave_jax.models import build, weights
from diffwave_jax.models.s4 import S4Kernel

STAGES = {"full rate": "down.0", "a quarter": "down.13", "a sixteenth": "center.0"}
REPEATS = 5


def fresh_contents(model: dict) -> Contents:
    """Initial values, but for the last layer, which would make every output zero."""
    params = {name: np.asarray(value) for name, value in weights.split(build(model, rngs=nnx.Rngs(0)))[1].items()}
    params["output2.kernel"] = np.random.default_rng(0).normal(size=params["output2.kernel"].shape).astype(np.float32)
    return Contents(model, params)


def kernel_seconds(contents: Contents, layer: str, l_max: int, samples: int) -> float:
    """The best of some times of computing one layer's kernels."""
    prefix = f"{layer}.s4.kernel."
    params = {name.removeprefix(prefix): value for name, value in contents.weights.items() if name.startswith(prefix)}
    heads = len(params["log_dt"])
    graph, _ = weights.abstract(lambda rngs: S4Kernel(heads, 64, l_max, rngs=rngs))
    compute = jax.jit(lambda params: weights.merge(graph, params)(samples))
    jax.block_until_ready(compute(params))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(compute(params))
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Prints the conversion's time, the difference of the outputs, and each stage's kernel times side by side."""
    old = {"name": "sashimi"}
    new = length.per_stage(old)
    before = fresh_contents(old)
    start = time.perf_counter()
    after = Contents(new, length.with_lengths(before.weights, old, new))
    print(f"C of 18 inner layers recomputed in float64: {time.perf_counter() - start:.1f} s")
    print(f"largest difference of the output on a clip of noise: {output_difference(before, after):.1e}")
    for (stage, layer), l_max in zip(STAGES.items(), new["l_max"], strict=True):
        single, own = (kernel_seconds(*pair, l_max) for pair in ((before, layer, 16000), (after, layer, l_max)))
        ratio = f"{single / own:.1f} times"
        print(f"{stage:12} l_max 16000: {1e3 * single:6.1f} ms, l_max {l_max}: {1e3 * own:6.1f} ms, {ratio}")


if __name__ == "__main__":
    main()
