"""SC09 and folders of audio as TFDS data sets, and the Grain pipeline that feeds training."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffwave_jax.data.dataset import Dataset, open_dataset
    from diffwave_jax.data.loader import make_loader
    from diffwave_jax.data.spec import DataSpec

__all__ = ["DataSpec", "Dataset", "make_loader", "open_dataset"]

# Imported when first used: whoever only lists or reads audio files does not wait for TFDS and Grain.
_HOMES = {"DataSpec": "spec", "Dataset": "dataset", "make_loader": "loader", "open_dataset": "dataset"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
