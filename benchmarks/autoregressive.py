"""Samples a second of the autoregressive SaShiMi of the published SC09 size: the loops, XLA's program, the original.

python benchmarks/autoregressive.py [DIR_OF_THE_ORIGINAL] [--streams 1 16 64] [--rounds 5] [--without-xla]

DIR_OF_THE_ORIGINAL is a clone of github.com/HazyResearch/state-spaces, whose step mode "dense", its default, runs in
PyTorch beside ours. Random weights: they do not change the time. All take turns, and the best of each one's turns
counts. A sample is one of one stream; rates are of all streams together.
"""

import argparse
import importlib.util
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax.config import default_config, model_section
from diffwave_jax.generation.autoregression import DRAWN
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.models import build, weights

# Multiply-adds of a sample, counted as in docs/measurements.md.
FLOP = 2 * (590e3 + 49e3 + 310e3)
SAMPLES = {"loops": 2048, "xla": 1024, "original": 32}  # of a turn, over all streams; the original steps as often

Turn = Callable[[], int]


def main() -> None:
    """Prints a line for each implementation and number of streams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original", nargs="?", type=Path)
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-xla", action="store_true")
    options = parser.parse_args()
    ours = {"loops": published_size("numba")} | ({} if options.without_xla else {"xla": published_size("xla")})
    original = load_original(options.original) if options.original else None
    for streams in options.streams:
        turns = {name: our_turn(model, streams, SAMPLES[name]) for name, model in ours.items()}
        if original is not None:
            turns["original"] = original_turn(original, streams)
        report(streams, best_rates(turns, options.rounds))


def published_size(implementation: str) -> AutoregressiveGenerator:
    """The network of the paper's SC09 model, random weights."""
    config = default_config()
    config.model = model_section("sashimi_ar", s4_implementation=implementation)
    _, params = weights.split(build(config.model, rngs=nnx.Rngs(0)))
    return AutoregressiveGenerator(config, {name: np.asarray(value) for name, value in params.items()})


def our_turn(model: AutoregressiveGenerator, streams: int, samples: int) -> Turn:
    """Goes on by whole periods."""
    length = max(16, samples // streams // 16 * 16)
    given = np.full((length, streams), DRAWN, np.int32)
    uniforms = jax.random.uniform(jax.random.key(0), given.shape)
    state = model._streams.start(streams)

    def turn() -> int:
        nonlocal state
        state, steps = model._streams.run(state, given, uniforms)
        jax.block_until_ready(steps)
        return given.size

    return turn


def load_original(folder: Path):
    """The original's backbone in step mode, with embedding and head."""
    import torch

    lightning = types.ModuleType("pytorch_lightning.utilities")
    lightning.rank_zero_only = lambda function: function  # pyright: ignore[reportAttributeAccessIssue]
    sys.modules |= {"pytorch_lightning": types.ModuleType("pytorch_lightning"), lightning.__name__: lightning}
    for package in ("src", "src.models", "src.models.sequence", "src.models.sequence.ss"):
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = []
    sys.modules["src.models.sequence.ss.standalone"] = types.ModuleType("src.models.sequence.ss.standalone")
    s4 = load_file("src.models.sequence.ss.standalone.s4", folder / "src/models/sequence/ss/standalone/s4.py")
    linear = s4.LinearActivation
    # It does not know the argument that its caller gives; without weight normalisation a step costs a little less.
    vars(s4)["LinearActivation"] = lambda *sizes, weight_norm=False, **options: linear(*sizes, **options)
    backbone = load_file("original_sashimi", folder / "sashimi/sashimi.py").Sashimi(n_layers=8).eval()
    with torch.no_grad():
        backbone(torch.zeros(1, 64, 64))  # sets up the kernels
        for module in backbone.modules():
            if isinstance(module, s4.S4):
                module.setup_step()  # "dense" is the default
    return backbone, torch.nn.Embedding(256, 64), torch.nn.Linear(64, 256)


def load_file(name: str, path: Path):
    """A module from its file alone."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def original_turn(model, streams: int) -> Turn:
    """Draws sample after sample as the original's generate.py does."""
    import torch

    backbone, embedding, head = model
    token, state = torch.full((streams,), 128), backbone.default_state(streams)

    def turn() -> int:
        nonlocal token, state
        with torch.inference_mode():
            for _ in range(SAMPLES["original"]):
                y, state = backbone.step(embedding(token), state)
                token = torch.distributions.Categorical(logits=head(y)).sample()
        return SAMPLES["original"] * streams

    return turn


def best_rates(turns: dict[str, Turn], rounds: int) -> dict[str, float]:
    """Samples a second of each."""
    best = dict.fromkeys(turns, 0.0)
    for _ in range(rounds + 1):  # the first compiles
        for name, turn in turns.items():
            start = time.perf_counter()
            best[name] = max(best[name], turn() / (time.perf_counter() - start))
    return best


def report(streams: int, rates: dict[str, float]) -> None:
    """Rates, and ratios to the original."""
    for name, rate in rates.items():
        ratio = f", {rate / rates['original']:.1f} times the original" if "original" in rates else ""
        print(f"{streams} streams, {name}: {rate:.0f} samples/s, {rate * FLOP / 1e9:.1f} GFLOP/s{ratio}", flush=True)


if __name__ == "__main__":
    main()
