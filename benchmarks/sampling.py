"""Time to sample a clip with the full-size networks, as a multiple of one forward pass per step.

python benchmarks/sampling.py [--networks diffwave sashimi] [--steps 25 200] [--guided]

Random weights: they do not change the time. The S4 kernels and everything compiled are made before, and their time is
shown apart. A forward pass is timed after every 5th step, so that both sides see the same machine, whatever else runs.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax.config import default_config, model_section
from diffwave_jax.generation.generator import Generator
from diffwave_jax.models import build, weights

FORWARD_EVERY = 5


def main():
    """Print one line a network and number of steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["diffwave", "sashimi"])
    parser.add_argument("--steps", nargs="+", type=int, default=[25, 200])
    parser.add_argument("--guided", action="store_true", help="with 10 classes and guidance: two evaluations a step")
    options = parser.parse_args()
    for name in options.networks:
        measure(full_size(name, n_classes=10 if options.guided else 0), options.steps, guided=options.guided)


def full_size(name: str, n_classes: int) -> Generator:
    """A released network's size with random weights."""
    config = default_config()
    config.model = model_section(name, n_classes=n_classes)
    _, params = weights.split(build(config.model, rngs=nnx.Rngs(0)))
    return Generator(config, {name: np.asarray(value) for name, value in params.items()})


def measure(generator: Generator, steps: list[int], *, guided: bool) -> None:
    """Prints the times of one network."""
    x, t = jnp.zeros((1, generator.length)), jnp.zeros((1,), jnp.int32)

    def forward():
        jax.block_until_ready(generator.predict_noise(x, t))

    settings = {"digit": 7, "guidance": 2.0} if guided else {}
    start = time.perf_counter()
    forward()
    generator.generate(1, steps=1, sampler="ddpm", batch_size=1, **settings)
    name = generator.config.model.name
    print(f"{name}: kernels, compilation and first steps {time.perf_counter() - start:.1f} s", flush=True)
    for count in steps:
        watch = Stopwatch(forward)
        generator.generate(1, steps=count, sampler="ddpm", batch_size=1, on_step=watch.on_step, **settings)
        print(f"{name}: {count} steps, {watch.report()}", flush=True)


class Stopwatch:
    """Times the steps of a chain, and a forward pass after every 5th, in seconds on the clock and of all cores."""

    def __init__(self, forward: Callable[[], None]):
        self._forward = forward
        self._steps, self._forwards = [], []
        self._begin = self._now()

    def on_step(self, done: int, total: int) -> None:
        """Called by the chain after each step."""
        self._steps.append(self._now() - self._begin)
        if done % FORWARD_EVERY == 0:
            begin = self._now()
            self._forward()
            self._forwards.append(self._now() - begin)
        self._begin = self._now()

    def report(self) -> str:
        """The chain's time, and a step's over a forward pass's: by the mean, the median, and the mean in CPU time."""
        steps, forwards = np.array(self._steps), np.array(self._forwards)
        clock, cpu = steps.mean(axis=0) / forwards.mean(axis=0)
        median = np.median(steps[:, 0]) / np.median(forwards[:, 0])
        return (
            f"{steps[:, 0].sum():.1f} s a clip = {clock:.3f} x steps x forward pass "
            f"({forwards[:, 0].mean():.3f} s, mean of {len(forwards)}); by medians {median:.3f}, in CPU time {cpu:.3f}"
        )

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])


if __name__ == "__main__":
    main()
