"""A small SaShiMi that trains in minutes on two CPU cores: to see everything work, not to sound good."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section("sashimi", d_model=16, n_layers=(0, 1, 2), l_max=(16000, 4000, 1000))
    config.train.num_steps = 600
    config.train.batch_size = 8
    config.train.learning_rate = 2e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 50
    config.train.clip_norm = 1.0
    config.train.checkpoint_every = 200
    config.train.log_every = 20
    return config
