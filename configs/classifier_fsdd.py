"""The bundled classifier of 8 kHz digits: FSDD's training split, about three minutes on one CPU core."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section(
        "classifier", sample_rate=8000, length=5120, n_mels=40, channels=(64, 96, 128), width=5
    )
    config.data.archive = "fsdd.tar.gz"
    config.data.sample_rate = 8000
    config.data.length = 5120
    config.data.shift = 400
    config.train.task = "classification"
    config.train.num_steps = 3_000
    config.train.batch_size = 32
    config.train.learning_rate = 2e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 100
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.995
    config.train.log_every = 100
    config.train.checkpoint_every = 1_000
    config.train.validate_every = 500
    return config
