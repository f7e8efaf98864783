"""The weights of a run as a checkpoint of half its size, to travel with the package."""

import shutil
from pathlib import Path

import numpy as np

from diffwave_jax import checkpoint


def write_half(run: str, folder: Path) -> None:
    """Replaces the checkpoint in `folder` with the run's newest weights (EMA if it has them) as float16."""
    saved = checkpoint.load(run)
    saved.config["data"]["archive"] = saved.config["data"]["data_dir"] = ""  # paths are of no use to others
    half = {name: value.astype(np.float16) for name, value in saved.weights.items()}
    shutil.rmtree(folder / checkpoint.FOLDER, ignore_errors=True)
    checkpoint.save(folder, saved.step, params=half, config=saved.config)


def size(folder: Path) -> str:
    """Megabytes in a folder."""
    return f"{sum(path.stat().st_size for path in folder.rglob('*')) / 1e6:.2f} MB in {folder}"
