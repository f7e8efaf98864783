"""Forward passes beside the PyTorch original's: `python benchmarks/original.py DIR [--networks diffwave sashimi]`.

DIR is a clone of https://github.com/RF5/DiffWave-unconditional. One clip of 16,000 samples, random weights, turn and
turn about in one process, all cores. SaShiMi's filters are given, which the original computes anew in every call. Of
the original's requirements only what its networks compute with must be there: torch, numpy, scipy, einops, opt_einsum.
"""

import argparse
import importlib
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.forward import LENGTH, best_times, network_forward
from diffwave_jax.models import DiffWave, DiffWaveConfig, SaShiMi, SaShiMiConfig

NOT_NEEDED = ("torchaudio", "fastprogress", "fastprogress.fastprogress")  # for its networks' forward


def main() -> None:
    """Prints one line a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a clone of RF5/DiffWave-unconditional")
    parser.add_argument("--networks", nargs="+", choices=ORIGINALS, default=list(ORIGINALS))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sys.path.insert(0, str(options.folder.resolve()))
    for name in options.networks:
        ours = network_forward(OURS[name]())[0]
        with torch.inference_mode():
            best = best_times({"ours": ours, "original": ORIGINALS[name](options.folder)}, options.repeats)
        times = best["original"] / best["ours"]
        print(f"{name}: {best['ours']:.2f} s, the original {best['original']:.2f} s: {times:.2f} times", flush=True)


def diffwave(folder: Path) -> tuple[Callable, tuple]:
    """The call of the original DiffWave's forward."""
    config = json.loads((folder / "config.json").read_text())["wavenet_config"]
    return _call(importlib.import_module("WaveNet").WaveNet_Speech_Commands(**config))


def sashimi(folder: Path) -> tuple[Callable, tuple]:
    """The call of the original SaShiMi's forward."""
    absent = {name: types.ModuleType(name) for name in NOT_NEEDED if not _is_there(name)}
    for module in absent.values():
        module.__dict__["progress_bar"] = None
    with mock.patch.dict(sys.modules, absent):
        model, config = (importlib.import_module(f"sashimi.{name}") for name in ("model", "config"))
    fields = vars(config.DiffusionConfig())
    return _call(model.SashimiDiffWave(fields))


def _is_there(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _call(network: torch.nn.Module) -> tuple[Callable, tuple]:
    network.eval()
    return network, ((torch.randn(1, 1, LENGTH), torch.zeros(1, 1, dtype=torch.long)),)


OURS = {
    "diffwave": lambda: DiffWave(DiffWaveConfig(), rngs=nnx.Rngs(0)),
    "sashimi": lambda: SaShiMi(SaShiMiConfig(), rngs=nnx.Rngs(0)),
}
ORIGINALS = {"diffwave": diffwave, "sashimi": sashimi}


if __name__ == "__main__":
    main()
