"""Makes the clips that `test_determinism` compares: `python -m tests.helpers.determinism_clips OUT.npz`."""

import sys

import numpy as np

from tests.helpers.tiny import SIZES, tiny_generator

BATCH_SIZES = (1, 3, 16)


def clips() -> dict[str, np.ndarray]:
    """16 clips of each network by each batch size, with every kind of randomness in use: {"network batch": clips}."""
    made = {}
    for name in SIZES:
        generator = tiny_generator(name, n_classes=10)
        for size in BATCH_SIZES:
            made[f"{name} {size}"] = generator.generate(
                16, seed=3, steps=6, sampler="dpm++sde", digit=range(10), guidance=1.5, batch_size=size
            )
    return made


if __name__ == "__main__":
    np.savez(sys.argv[1], **clips())
