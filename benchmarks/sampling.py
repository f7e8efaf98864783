"""Time to sample a clip with the full-size networks, as a multiple of one forward pass per step.

python benchmarks/sampling.py [--networks diffwave sashimi] [--steps 25 200] [--guided]

Random weights: they do not change the time. The S4 kernels and everything compiled are made before, and their time is
shown apart. A forward pass is timed after every 5th step, so that both sides see the same machine, whatever else runs.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax.config import default_config, model_section
from diffwave_jax.generator import Generator
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
        forwards, seconds = [], -time.perf_counter()

        def on_step(done, total, forwards=forwards):
            if done % FORWARD_EVERY == 0:
                begin = time.perf_counter()
                forward()
                forwards.append(time.perf_counter() - begin)

        generator.generate(1, steps=count, sampler="ddpm", batch_size=1, on_step=on_step, **settings)
        seconds += time.perf_counter() - sum(forwards)
        mean = np.mean(forwards)
        print(
            f"{name}: {count} steps {seconds:.1f} s a clip, forward {mean:.3f} s "
            f"(of {len(forwards)}), ratio {seconds / mean:.1f} = {seconds / mean / count:.3f} x steps",
            flush=True,
        )


if __name__ == "__main__":
    main()
