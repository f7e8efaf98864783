"""SaShiMi as released: 23.5 M weights, SC09, batch 12, 800k steps, learning rate times 0.2 from step 500k on."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section("sashimi")
    config.train.num_steps = 800_000
    config.train.batch_size = 12
    config.train.schedule = "drop"
    config.train.drop_step = 500_000
    config.train.drop_factor = 0.2
    config.sample.sampler = "ddpm"  # as the original samples, in all 200 steps
    return config
