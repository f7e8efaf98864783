"""Puts a trained digits model into the package, to be sampled as `configs/digits.py` says now: bundle_digits.py RUN."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from half import size, write_half

from configs.digits import get_config
from diffwave_jax.config import to_dict
from diffwave_jax.generation.loading import load_diffusion
from diffwave_jax.pretrained import pretrained_folder


def main(run: str) -> None:
    """Writes the checkpoint, and prints its size and how far rounding moved its clips."""
    folder = pretrained_folder()
    write_half(run, folder, sample=to_dict(get_config())["sample"])
    full, half = (load_diffusion(path).generate(4, digit=range(4)) for path in (run, folder))
    print(f"largest difference of a sample from float32: {np.abs(full - half).max():.1e} of {np.abs(full).max():.2f}")
    print(size(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
