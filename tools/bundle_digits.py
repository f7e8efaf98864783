"""Puts a trained digits model, or a student of it, into the package: python tools/bundle_digits.py RUN [digits_fast].

It is to be sampled as `configs/digits.py` says now; a student as its own run says.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from half import size, write_half

from configs.digits import get_config
from diffwave_jax.config import to_dict
from diffwave_jax.generation.loading import load_diffusion
from diffwave_jax.pretrained import USUAL, pretrained_folder

ASKED = ("sampler", "steps", "guidance", "guided_steps", "guide_memory", "noise_scale", "early")
"""What a run may have been told otherwise than its config now says."""


def main(run: str, name: str = USUAL) -> None:
    """Writes the checkpoint, and prints its size and how far rounding moved its clips."""
    folder, sample = pretrained_folder(name), to_dict(get_config())["sample"]
    write_half(run, folder, **({"sample": sample} if name == USUAL else {"teacher": USUAL}))
    asked = {field: sample[field] for field in ASKED} if name == USUAL else {}
    full, half = (load_diffusion(path).generate(4, digit=range(4), **asked) for path in (run, folder))
    print(f"largest difference of a sample from float32: {np.abs(full - half).max():.1e} of {np.abs(full).max():.2f}")
    print(size(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
