"""lmnt-com/diffwave's full-size vocoder on this machine: `python benchmarks/vocoder.py [SECONDS]`.

Prints the time of one forward pass beside that of a plain matrix product, the real-time factors of 6 and 50 steps, and,
for a recording of SECONDS (60), memory and time in tiles and the largest difference from one piece.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from configs import vocoder
from diffwave_jax.generation import vocoding
from diffwave_jax.generation.generator import Generator
from diffwave_jax.models import build, weights

RATE, HOP = 22050, 256
ROUNDS = 5


def main(seconds: float = 60.0) -> None:
    """Prints everything, the least of several rounds."""
    model = network()
    forward_beside_product(model, frames=86)
    for steps, sampler in ((6, "fast"), (50, "ddpm")):
        mel = random_mel(model, 86)
        took = fastest([lambda s=steps, n=sampler, m=mel: model.vocode(m, steps=s, sampler=n)], 2)[0]
        print(f"{steps} steps of {86 * HOP / RATE:.2f} s: {took:.2f} s, {took * RATE / 86 / HOP:.2f} s for each second")
    long_recording(model, int(seconds * RATE / HOP))


def network() -> Generator:
    """The network of `configs/vocoder.py` with weights that predict something."""
    config = vocoder.get_config()
    _, params = weights.split(build(config.model, rngs=nnx.Rngs(0)))
    random = np.random.default_rng(0)
    last = {"output2.kernel": 0.1 * random.standard_normal((64, 1))}
    return Generator(config, {name: np.asarray(value) for name, value in params.items()} | last)


def random_mel(model: Generator, frames: int) -> np.ndarray:
    """A mel (80, frames) of noise that swells."""
    noise = np.random.default_rng(1).standard_normal(frames * HOP - 1) * 0.1
    return model.mel(noise.astype(np.float32), RATE)[:, :frames]


def forward_beside_product(model: Generator, frames: int) -> None:
    """One evaluation of the network, and a product of as many FLOPs with matrices as narrow."""
    samples, channels, bands = frames * HOP, 64, 80
    flops = 2 * samples * (30 * (3 * channels + bands + channels) * 2 * channels + channels**2)
    x, mel = jnp.zeros((1, samples)), jnp.asarray(random_mel(model, frames)[None])
    left, right = jnp.ones((samples, 192)), jnp.ones((192, 128))
    product = jax.jit(
        lambda a, b: jax.lax.fori_loop(0, 16, lambda _, c: c + (a + c[0, 0]) @ b, jnp.zeros((samples, 128)))
    )
    forward, plain = fastest(
        [lambda: model.predict_noise(x, jnp.zeros(1), mel=mel), lambda: product(left, right)], ROUNDS
    )
    rate, plain_rate = flops / forward / 1e9, 16 * 2 * samples * 192 * 128 / plain / 1e9
    print(
        f"forward of {samples / RATE:.2f} s: {forward:.2f} s, {rate:.0f} GFLOP/s, {100 * rate / plain_rate:.0f} % of a "
        f"plain product's {plain_rate:.0f}"
    )


def long_recording(model: Generator, frames: int) -> None:
    """Two steps of a long mel in tiles and in one piece."""
    mel = random_mel(model, frames)
    start = time.perf_counter()
    tiled = model.vocode(mel, steps=2, sampler="ddim")
    took = time.perf_counter() - start
    length = vocoding.bucket(frames) * HOP
    print(
        f"{frames * HOP / RATE:.0f} s, 2 steps in tiles: {took:.1f} s, {planned(model, length):.2f} GB beside weights"
    )
    whole = network()
    vocoding.tiling = lambda config: None
    print(f"in one piece: {planned(whole, length):.2f} GB; largest difference {difference(whole, mel, tiled):.1e}")


def planned(model: Generator, length: int) -> float:
    """GB that XLA plans for a clip."""
    return model._chain.memory(1, length, guided=False) / 1e9


def difference(model: Generator, mel: np.ndarray, other: np.ndarray) -> float:
    """The largest difference between what a model makes of a mel and something else."""
    return float(np.max(np.abs(model.vocode(mel, steps=2, sampler="ddim") - other)))


def fastest(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds of each, the least of all rounds, turn and turn about."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds + 1):  # the first compiles
        for i, call in enumerate(calls):
            start = time.perf_counter()
            jax.block_until_ready(call())
            best[i] = min(best[i], time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
