"""Checkpoints to convert: real ones where they lie beside the project, made-up ones everywhere."""

import os
from pathlib import Path

import numpy as np

from diffwave_jax.convert import mapping
from diffwave_jax.convert.contents import Adam, Contents

MODELS = {
    "sashimi": {"name": "sashimi", "d_model": 4, "n_layers": 1, "pool": (4,), "d_state": 8, "l_max": 64, "length": 64},
    "diffwave": {"name": "diffwave", "channels": 4, "n_layers": 2, "dilation_cycle": 2, "length": 64},
}


def golden_folder() -> Path | None:
    """The folder of reference checkpoints and outputs beside the project, if there is one."""
    root = Path(__file__).resolve().parents[2]
    named = [os.environ["DIFFWAVE_SHARED"]] if "DIFFWAVE_SHARED" in os.environ else []
    candidates = (Path(folder, "golden") for folder in (*named, root.parent / "shared", root.parents[1] / "shared"))
    return next((folder for folder in candidates if folder.is_dir()), None)


def random_contents(model: dict, seed: int = 0, *, optimizer: bool = True) -> Contents:
    """A small network with plausible random weights, and Adam's state after 7 updates."""
    rng = np.random.default_rng(seed)

    def normal(shape):
        return 0.3 * rng.standard_normal(shape, dtype=np.float32)

    weights = {name: normal(shape) for name, shape in mapping.weight_shapes(model).items()}
    for name in weights:
        if name.endswith("log_dt"):
            weights[name] = rng.uniform(-6, -3, weights[name].shape).astype(np.float32)
        elif name.endswith("w_imag"):
            weights[name] = np.abs(weights[name]) * 30
    mu = {name: normal(value.shape) for name, value in weights.items()}
    nu = {name: 0.1 + np.square(normal(value.shape)) for name, value in weights.items()}
    return Contents(model, weights, 7, 2e-4, Adam(7, mu, nu) if optimizer else None)
