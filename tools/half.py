"""The weights of a run as a checkpoint of half its size, to travel with the package."""

import shutil
from pathlib import Path

import numpy as np

from diffwave_jax import checkpoint, digests


def write_half(run: str, folder: Path, **fields: dict | str) -> None:
    """Replaces the checkpoint in `folder` with the run's newest weights (EMA if it has them) as float16.

    `fields` take the place of those of the run's config.
    """
    saved = checkpoint.load(run)
    saved.config.update(fields)
    saved.config["data"]["archive"] = saved.config["data"]["data_dir"] = ""  # paths are of no use to others
    saved.config["train"]["init_from"] = ""
    half = {name: _half(name, value) for name, value in saved.weights.items()}
    shutil.rmtree(folder / checkpoint.FOLDER, ignore_errors=True)
    checkpoint.save(folder, saved.step, params=half, config=saved.config)
    _forget_place(folder / checkpoint.FOLDER / str(saved.step))


def _forget_place(step: Path) -> None:
    """Takes out where Orbax says that it wrote a checkpoint; its digests are made anew."""
    for file in step.rglob("commit_success.txt"):
        file.write_text(file.read_text().partition(" to /")[0])
    digests.write(step)


def _half(name: str, value: np.ndarray) -> np.ndarray:
    """A weight as float16, but for those of S4 kernels: frequency times length is a phase, which needs float32."""
    return value if ".s4.kernel." in name else value.astype(np.float16)


def size(folder: Path) -> str:
    """Megabytes in a folder."""
    return f"{sum(path.stat().st_size for path in folder.rglob('*')) / 1e6:.2f} MB in {folder}"
