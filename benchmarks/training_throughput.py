"""The training steps at full size on this machine, as multiples of their forward passes, all measured in one run.

    python benchmarks/training_throughput.py [--models sashimi,diffwave] [--rounds 3]

SaShiMi (l_max one per stage, batch 2) and DiffWave (batch 1), float32. Forward and step take turns, and for SaShiMi
the S4 kernels with their gradient, alone and with the filters' spectra that the convolutions need of them, and the step
with XLA's kernels; each figure is the fastest of its rounds.
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
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax.allocator import keep_freed_memory
from diffwave_jax.config import default_config, model_section
from diffwave_jax.models import SaShiMi, SaShiMiConfig, weights
from diffwave_jax.models.compiling import jit
from diffwave_jax.models.s4 import S4
from diffwave_jax.training.feed import data_mesh, global_batch
from diffwave_jax.training.optimizer import make_optimizer
from diffwave_jax.training.step import init_state, make_train_step
from diffwave_jax.training.tasks import make_task

RESULTS = Path(__file__).parent / "results" / "training_throughput.jsonl"
BATCH = {"sashimi": 2, "diffwave": 1}
LENGTHS = (16000, 4000, 1000)  # l_max of SaShiMi's stages


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
        for what in ("s4 kernels and gradient", "s4 filters and gradient"):
            if what in seconds:
                row[f"{what} / step"] = round(seconds[what] / seconds["step"], 3)
        row["most memory of the process so far, GB"] = round(
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1
        )
        print(row, flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            print(json.dumps(row), file=file)


def programs(name: str) -> dict[str, Callable[[], object]]:
    """What is timed: calls that return arrays to wait for."""
    timed = _forward_and_step(_config(name))
    if name == "sashimi":
        kernels, params = _s4(lambda layer, length: layer.kernel(length))
        timed["s4 kernels"] = _call(jax.jit(kernels), params)
        timed["s4 kernels and gradient"] = _gradient(kernels, params)
        timed["s4 filters and gradient"] = _gradient(*_s4(S4.filter))
        timed["step with XLA's kernels"] = _forward_and_step(_config(name, s4_implementation="xla"))["step"]
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


def _config(name: str, **model) -> ConfigDict:
    config = default_config()
    lengths = {"l_max": LENGTHS} if name == "sashimi" else {}
    config.model = model_section(name, **lengths, **model)
    config.train.batch_size = BATCH[name]
    return config


def _forward_and_step(config: ConfigDict) -> dict[str, Callable[[], object]]:
    task, optimizer, mesh = make_task(config), make_optimizer(config.train), data_mesh()
    graph, params = weights.split(task.build(nnx.Rngs(0)))
    size = config.train.batch_size
    audio = np.random.default_rng(0).uniform(-1, 1, (size, config.data.length)).astype(np.float32)
    batch = global_batch({"audio": audio, "label": np.zeros(size, np.int32)}, mesh)
    step = _step(make_train_step(task, graph, optimizer, mesh=mesh, seed=0), params, optimizer, batch)
    return {"forward": _forward(graph, params, audio), "step": step}


def _forward(graph: nnx.GraphDef, params: weights.Weights, audio: np.ndarray) -> Callable[[], object]:
    steps = jnp.zeros(len(audio))
    forward = jit(lambda p, x: weights.merge(graph, p)(x, steps))
    return _call(forward, params, audio)


def _step(step: Callable, params: weights.Weights, optimizer, batch) -> Callable[[], object]:
    state = init_state(jax.tree.map(jnp.copy, params), optimizer, 0.0)

    def call():
        nonlocal state
        state, metrics = step(state, batch, {})
        return metrics

    return call


def _s4(method: Callable) -> tuple[Callable, list[weights.Weights]]:
    """A function of S4 parameters, what `method(layer, length)` makes of every layer, a stage's one after another."""
    network = SaShiMi(SaShiMiConfig(l_max=LENGTHS), rngs=nnx.Rngs(0))
    stages = [[block.s4 for block in network.s4_blocks() if block.stage == stage] for stage in range(len(LENGTHS))]
    graphs = [weights.split(layers[0])[0] for layers in stages]
    params = [jax.tree.map(lambda *x: jnp.stack(x), *(weights.split(s4)[1] for s4 in layers)) for layers in stages]

    def made(graph, length, stacked):
        return jax.lax.map(lambda values: method(weights.merge(graph, values), length), stacked)

    return lambda p: [made(*stage) for stage in zip(graphs, LENGTHS, p, strict=True)], params


def _gradient(function: Callable, params) -> Callable[[], object]:
    """The function and its gradient, for a cotangent that is not constant."""

    def gradient(p, cotangents):
        values, pull_back = jax.vjp(function, p)
        return values, pull_back(cotangents)  # without the values XLA would leave their computation out

    cotangents = jax.tree.map(lambda x: x * 1.5, jax.jit(function)(params))
    return _call(jax.jit(gradient), params, cotangents)


if __name__ == "__main__":
    main()
