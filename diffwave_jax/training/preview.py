"""Clips to listen to while a model trains."""

from typing import Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from diffwave_jax.data import open_dataset
from diffwave_jax.data.crops import Crops
from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.generation.diffusion_model import table
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.settings import Settings
from diffwave_jax.mel import MelFrontEnd
from diffwave_jax.models import weights

CLIPS = 4  # of an unconditional model; a conditional one says each class once
SEED = 0  # the same noise every time, so that clips of different steps compare


class Preview(Protocol):
    """Generates the same few clips from whatever weights it is given."""

    def clips(self, params: weights.Weights) -> np.ndarray:
        """Clips (n, L) from these weights; every process makes the same ones, on its own devices."""
        ...

    def scores(self, clips: np.ndarray) -> dict[str, float]:
        """What can be measured of these clips (n, L), by name."""
        ...


def make_preview(config: ConfigDict) -> Preview:
    """The preview of what a run trains.

    Raises:
      UserError: it has no clips, or the config's `sample` section asks for what its model cannot do.
    """
    if config.train.task not in PREVIEWS:
        raise UserError(f"train.sample_every is {config.train.sample_every}, but {config.train.task} has no clips")
    if config.model.get("n_mels", 0):
        return VocoderPreview(config)
    return PREVIEWS[config.train.task](config)


class DiffusionPreview:
    """Generates the same few clips from whatever weights it is given.

    Args:
      config: the run's config; its `sample` section says how.

    Raises:
      UserError: the section asks for what this model cannot do.
    """

    def __init__(self, config: ConfigDict):
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

    def scores(self, clips: np.ndarray) -> dict[str, float]:
        """None."""
        del clips
        return {}


class VocoderPreview:
    """Copies the same few parts of held-out recordings with whatever weights it is given.

    Args:
      config: the run's config; its `sample` section says how.

    Raises:
      UserError: the section asks for what this model cannot do, or no recording is held out.
    """

    def __init__(self, config: ConfigDict):
        self._config = config
        self._front_end = MelFrontEnd.from_config(config)
        dataset = open_dataset(config.data, "validation")
        crops = Crops.from_config(config, dataset)
        assert crops is not None  # of a vocoder
        chosen = range(min(CLIPS, len(dataset)))
        self._mels = np.swapaxes(crops.read(chosen, [(SEED, index) for index in chosen])["mel"], 1, 2)
        table(Diffusion.from_config(config.diffusion), Settings.for_model(config), config)  # a mistake ends the run now

    def clips(self, params: weights.Weights) -> np.ndarray:
        """See `Preview`."""
        return Generator(self._config, jax.device_get(params)).vocode(self._mels, SEED)

    def scores(self, clips: np.ndarray) -> dict[str, float]:
        """How far the copies are from the recordings: the mean difference of their mels."""
        found = self._front_end(clips)[..., : self._mels.shape[-1]]
        return {"validation_mel_distance_db": self._front_end.distance(found, self._mels)}


class AutoregressivePreview:
    """Draws the same few clips sample by sample from whatever weights it is given.

    Args:
      config: the run's config.
    """

    def __init__(self, config: ConfigDict):
        self._config = config

    def clips(self, params: weights.Weights) -> np.ndarray:
        """See `Preview`."""
        return AutoregressiveGenerator(self._config, jax.device_get(params)).generate(CLIPS, SEED)

    def scores(self, clips: np.ndarray) -> dict[str, float]:
        """None."""
        del clips
        return {}


PREVIEWS = {"autoregression": AutoregressivePreview, "diffusion": DiffusionPreview, "distillation": DiffusionPreview}
