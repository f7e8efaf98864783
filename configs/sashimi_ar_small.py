"""A small autoregressive SaShiMi that speaks digits at 8 kHz (FSDD): under an hour on two CPU cores."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section(
        "sashimi_ar", d_model=32, n_layers=(1, 3, 4), length=4608, l_max=(4608, 1152, 288), code="mu_law"
    )
    config.data.archive = "fsdd.tar.gz"
    config.data.sample_rate = 8000
    config.data.length = 4608  # 95 % of the recordings are shorter
    config.data.trim_db = 30.0
    config.data.rms = 0.1
    config.data.fade = 80
    config.data.shift = 64
    config.data.gain = (0.8, 1.2)
    config.train.task = "autoregression"
    config.train.count_padding = True  # a word ends, and silence follows
    config.train.num_steps = 1_400
    config.train.batch_size = 8
    config.train.learning_rate = 4e-3
    config.train.state_learning_rate = 1e-3
    config.train.schedule = "decay"
    config.train.decay_steps = 400
    config.train.warmup_steps = 100
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.99
    config.train.checkpoint_every = 100
    config.train.validate_every = 200
    return config
