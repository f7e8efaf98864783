"""The training steps at full size on this machine, as multiples of their forward passes, all measured in one run.

    python benchmarks/training_throughput.py [--models sashimi,diffwave] [--rounds 3]

SaShiMi (l_max one per stage, batch 2) and DiffWave (batch 1), float32. Forward and step, and
for SaShiMi the S4 kernels with their gradient, take turns; each line is the fastest of its rounds.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax.allocator import keep_freed_memory
from diffwave_jax.config import default_config, model_section
from diffwave_jax.models import weights
from diffwave_jax.models.compiling import jit
from diffwave_jax.training.feed import data_mesh, global_batch
from diffwave_jax.training.optimizer import make_optimizer
from diffwave_jax.training.step import init_state, make_train_step
from diffwave_jax.training.tasks import make_task

RESULTS = Path(__file__).parent / "results" / "training_throughput.jsonl"
BATCH = {"sashimi": 2, "diffwave": 1}


def main():
    """Measures each model and says what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="sashimi,diffwave")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()  # as train.py does
    for name in args.models.split(","):
        seconds = fastest(programs(name), args.rounds)
        row = {"model": name, "batch": BATCH[name]} | {what: round(value, 3) for what, value in seconds.items()}
        row["step / forward"] = round(seconds["step"] / seconds["forward"], 2)
        if "s4 kernels and gradient" in seconds:
            row["s4 share of step"] = round(seconds["s4 kernels and gradient"] / seconds["step"], 3)
        row["most memory of the process so far, GB"] = round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1
        )
        print(row, flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            print(json.dumps(row), file=file)


def programs(name: str) -> dict[str, Callable[[], object]]:
    """What is timed: calls that return arrays to wait for."""
    config = default_config()
    lengths = {"l_max": (16000, 4000, 1000)} if name == "sashimi" else {}
    config.model = model_section(name, **lengths)
    config.train.batch_size = size = BATCH[name]
    task, optimizer, mesh = make_task(config), make_optimizer(config.train), data_mesh()
    graph, params = weights.split(task.build(nnx.Rngs(0)))
    random = np.random.default_rng(0)
    audio = random.uniform(-1, 1, (size, config.data.length)).astype(np.float32)
    batch = global_batch({"audio": audio, "label": np.zeros(size, np.int32)}, mesh)
    timed = {"forward": _forward(graph, params, audio), "step": _step(task, graph, optimizer, mesh, params, batch)}
    if name == "sashimi":
        timed["s4 kernels"] = _call(jax.jit(lambda p: weights.merge(graph, p).s4_kernels()), params)
        timed["s4 kernels and gradient"] = _kernel_gradient(graph, params)
    return timed


def fastest(timed: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of each, the least of its rounds; they take turns, so that all see the same machine."""
    for call in timed.values():
        jax.block_until_ready(call())
    best = dict.fromkeys(timed, float("inf"))
    for _ in range(rounds):
        for what, call in timed.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            best[what] = min(best[what], time.perf_counter() - start)
    return best


def _call(function: Callable, *arguments) -> Callable[[], object]:
    return lambda: function(*arguments)


def _forward(graph: nnx.GraphDef, params: weights.Weights, audio: np.ndarray) -> Callable[[], object]:
    steps = jnp.zeros(len(audio))
    forward = jit(lambda p, x: weights.merge(graph, p)(x, steps))
    return _call(forward, params, audio)


def _step(task, graph, optimizer, mesh, params, batch) -> Callable[[], object]:
    step = make_train_step(task, graph, optimizer, mesh=mesh, seed=0)
    state = init_state(jax.tree.map(jnp.copy, params), optimizer, 0.0)

    def call():
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return call


def _kernel_gradient(graph: nnx.GraphDef, params: weights.Weights) -> Callable[[], object]:
    """The kernels as training makes them, and their gradient for a cotangent that is not constant."""
    only = {name: value for name, value in params.items() if ".s4." in name}
    rest = {name: value for name, value in params.items() if ".s4." not in name}

    def kernels(p):
        return weights.merge(graph, rest | p).s4_kernels()

    def gradient(p, cotangents):
        values, pull_back = jax.vjp(kernels, p)
        return values, pull_back(cotangents)  # without the values XLA would leave their computation out

    cotangents = jax.tree.map(lambda k: k * 1.5, jax.jit(kernels)(only))
    return _call(jax.jit(gradient), only, cotangents)


if __name__ == "__main__":
    main()
