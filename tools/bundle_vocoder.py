"""Puts a trained vocoder into the package: python tools/bundle_vocoder.py RUN FOLDER_OF_RECORDINGS.

It is to be sampled as `configs/vocoder_8k.py` says now. The recordings tell how far rounding moves its audio.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from half import size, write_half

from configs.vocoder_8k import get_config
from diffwave_jax.config import to_dict
from diffwave_jax.generation.loading import load_diffusion
from diffwave_jax.pretrained import USUAL_VOCODER, pretrained_folder
from diffwave_jax.recording import read

RECORDINGS = 4


def main(run: str, recordings: str) -> None:
    """Writes the checkpoint, and prints its size and how far rounding moved its audio."""
    folder = pretrained_folder(USUAL_VOCODER)
    write_half(run, folder, sample=to_dict(get_config())["sample"])
    full, half = load_diffusion(run), load_diffusion(folder)
    moved = []
    for path in sorted(Path(recordings).rglob("*.wav"))[:RECORDINGS]:
        recording = read(path)
        mel = full.mel(recording.samples, recording.sample_rate)
        one, other = (model.vocode(mel, steps=6, sampler="dpm++sde", match=0) for model in (full, half))
        moved.append(np.abs(one - other).max())
    print(f"largest difference of a sample from float32, as drawn: {max(moved):.1e}")
    print(size(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
