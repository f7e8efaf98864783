"""Generators with tiny random networks, for tests of everything around a network."""

import numpy as np
from flax import nnx

from diffwave_jax.config import default_config, model_section
from diffwave_jax.generation.generator import Generator
from diffwave_jax.models import build, weights

SIZES = {
    "diffwave": {"channels": 8, "n_layers": 3, "dilation_cycle": 3},
    "sashimi": {"d_model": 4, "n_layers": 1, "pool": (4,), "d_state": 8, "l_max": 256},
}


def tiny_generator(
    name: str = "diffwave", *, n_classes: int = 0, n_speakers: int = 0, prediction: str = "noise", seed: int = 0
) -> Generator:
    """A generator of 256 samples at 8 kHz whose network predicts something, unlike a freshly initialised one."""
    config = default_config()
    config.model = model_section(name, length=256, n_classes=n_classes, n_speakers=n_speakers, **SIZES[name])
    config.diffusion.prediction = prediction
    config.data.speakers = tuple(f"speaker{number}" for number in range(n_speakers))
    config.data.sample_rate = 8000
    config.data.length = 256
    _, params = weights.split(build(config.model, rngs=nnx.Rngs(seed)))
    random = np.random.default_rng(seed)
    shaken = {name: np.asarray(value) + 0.05 * random.standard_normal(value.shape) for name, value in params.items()}
    return Generator(config, {name: value.astype(np.float32) for name, value in shaken.items()})
