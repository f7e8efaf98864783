"""The classifier that the SC09 metrics need: 16 kHz digits of Speech Commands, 20,000 steps of 64 clips."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section("classifier")
    config.data.shift = 1600
    config.train.task = "classification"
    config.train.num_steps = 20_000
    config.train.batch_size = 64
    config.train.learning_rate = 2e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 200
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.995
    config.train.checkpoint_every = 2_000
    config.train.validate_every = 1_000
    return config
