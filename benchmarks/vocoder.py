"""lmnt-com/diffwave's full-size vocoder: `python benchmarks/vocoder.py [--seconds 60] [--original DIR]`.

Prints the time of one step of the chain beside that of a plain matrix product and, where DIR is a clone of
https://github.com/lmnt-com/diffwave and torch is there, beside the original's forward pass; the real-time factors of 6
and 50 steps; and for a recording of so many seconds memory and time in tiles and the largest difference from one piece.
"""

import argparse
import importlib
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


def main() -> None:
    """Prints everything, the least of several rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the long recording")
    parser.add_argument("--original", type=Path, metavar="DIR", help="a clone of lmnt-com/diffwave")
    options = parser.parse_args()
    model = network()
    step_beside_product(model, 86, options.original)
    for steps, sampler in ((6, "fast"), (50, "ddpm")):
        mel = random_mel(model, 86)
        took = fastest([lambda s=steps, n=sampler, m=mel: model.vocode(m, steps=s, sampler=n)], 2)[0]
        print(f"{steps} steps of {86 * HOP / RATE:.2f} s: {took:.2f} s, {took * RATE / 86 / HOP:.2f} s for each second")
    long_recording(model, int(options.seconds * RATE / HOP))


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


def step_beside_product(model: Generator, frames: int, original: Path | None) -> None:
    """One step of a chain, a product of as many FLOPs with matrices as narrow, and the original's forward pass."""
    samples, channels, bands = frames * HOP, 64, 80
    flops = 2 * samples * (30 * (3 * channels + bands + channels) * 2 * channels + channels**2)
    mel = random_mel(model, frames)
    left, right = jnp.ones((samples, 192)), jnp.ones((192, 128))
    product = jax.jit(
        lambda a, b: jax.lax.fori_loop(0, 16, lambda _, c: c + (a + c[0, 0]) @ b, jnp.zeros((samples, 128)))
    )
    few_steps, many_steps = (lambda n=n: model.vocode(mel, steps=n, sampler="ddim") for n in (2, 12))
    others = [original_forward(original, mel)] if original else []
    few, many, plain, *theirs = fastest([few_steps, many_steps, lambda: product(left, right), *others], ROUNDS)
    step = (many - few) / 10
    rate, plain_rate = flops / step / 1e9, 16 * 2 * samples * 192 * 128 / plain / 1e9
    print(
        f"step of {samples / RATE:.2f} s: {step:.2f} s, {rate:.0f} GFLOP/s, {100 * rate / plain_rate:.0f} % of a "
        f"plain product's {plain_rate:.0f}"
    )
    for forward in theirs:
        print(f"the original's forward: {forward:.2f} s, {forward / step:.2f} times as long")


def original_forward(folder: Path, mel: np.ndarray) -> Callable[[], object]:
    """The original network's forward pass of a mel, with random weights."""
    torch = importlib.import_module("torch")
    sys.path.insert(0, str(folder / "src"))
    params = importlib.import_module("diffwave.params").params
    theirs = importlib.import_module("diffwave.model").DiffWave(params).eval()
    given = torch.zeros(1, mel.shape[1] * HOP), torch.zeros(1, dtype=torch.int64), torch.from_numpy(mel)[None]

    @torch.inference_mode()
    def forward() -> None:
        theirs(*given)

    return forward


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
    main()
