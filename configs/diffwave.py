"""DiffWave as released: 24.1 M weights, SC09, constant learning rate, 1M steps."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section("diffwave")
    config.train.num_steps = 1_000_000
    config.sample.sampler = "ddpm"  # as the original samples, in all 200 steps
    return config
