"""SC09 and folders of audio as TFDS data sets, and the Grain pipeline that feeds training."""

from diffwave_jax.data.dataset import Dataset, open_dataset
from diffwave_jax.data.loader import make_loader
from diffwave_jax.data.spec import DataSpec

__all__ = ["DataSpec", "Dataset", "make_loader", "open_dataset"]
