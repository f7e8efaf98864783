"""A user's own settings of JAX change no clip."""

import jax
import numpy as np
import pytest

from diffwave_jax.generation.generator import Generator
from tests.helpers.tiny import tiny_generator

SETTINGS = [
    ("jax_enable_x64", True),
    ("jax_numpy_dtype_promotion", "strict"),
    ("jax_default_prng_impl", "rbg"),
    ("jax_threefry_partitionable", False),
]


def results(model: Generator) -> dict[str, np.ndarray]:
    """What a model makes, by programs that are compiled anew."""
    model = Generator(model.config, model._params)
    clips = model.generate(2, seed=3, steps=2, sampler="dpm++sde", digit=(7, 2), guidance=1.5)
    noise = model.predict_noise(clips, np.array([3, 100]), np.array([1, 10]))
    return {"clips": clips, "noise": np.asarray(noise), "latents": model.latents(2), "clean": model.denoise(clips)}


@pytest.mark.parametrize("name", ["sashimi", pytest.param("diffwave", marks=pytest.mark.torture)])
def test_the_same_clips_whatever_jax_is_set_to(name):
    model = tiny_generator(name, n_classes=10)
    expected = results(model)
    for setting, value in SETTINGS:
        before = getattr(jax.config, setting)
        jax.config.update(setting, value)
        try:
            found = results(model)
        finally:
            jax.config.update(setting, before)
        for what, array in expected.items():
            assert found[what].dtype == np.float32, (setting, what)
            np.testing.assert_array_equal(found[what], array, err_msg=f"{setting} {what}")
