"""Clips to listen to while a model trains."""

import jax
import numpy as np
from ml_collections import ConfigDict

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation.generator import Generator, table
from diffwave_jax.generation.settings import Settings
from diffwave_jax.models import weights

CLIPS = 4  # of an unconditional model; a conditional one says each class once
SEED = 0  # the same noise every time, so that clips of different steps compare


class Preview:
    """Generates the same few clips from whatever weights it is given.

    Args:
      config: the run's config; its `sample` section says how.

    Raises:
      UserError: the section asks for what this model cannot do.
    """

    def __init__(self, config: ConfigDict):
        if config.train.task != "diffusion":
            raise UserError(f"train.sample_every is {config.train.sample_every}, but {config.train.task} has no clips")
        classes = config.model.n_classes
        self._config = config
        self._count = classes or CLIPS
        self._settings = Settings.for_model(config, seed=SEED, digit=range(classes))
        table(Diffusion.from_config(config.diffusion), self._settings, config)  # a mistake ends the run now

    def clips(self, params: weights.Weights) -> np.ndarray:
        """Clips (n, L) from these weights; every process makes the same ones, on its own devices."""
        generator = Generator(self._config, jax.device_get(params))
        batches = generator.clips(range(self._count), self._settings)
        return np.concatenate([audio for _, audio in batches])
