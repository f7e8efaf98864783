"""Autoregressive SaShiMi of the paper: 4.8 M weights, SC09, mu-law tokens, batch 8, 1.1M steps."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section("sashimi_ar", n_layers=(8, 8, 8), l_max=(16000, 4000, 1000))
    config.train.task = "autoregression"
    config.train.num_steps = 1_100_000
    config.train.batch_size = 8
    config.train.learning_rate = 4e-3
    config.train.state_learning_rate = 1e-3
    config.train.schedule = "plateau"
    config.train.validate_every = 3_895  # an epoch
    return config
