"""The bundled model: a small class-conditional SaShiMi that speaks the ten digits at 8 kHz, trained on FSDD."""

from diffwave_jax.config import default_config, model_section


def get_config():
    config = default_config()
    config.model = model_section(
        "sashimi",
        d_model=32,
        n_layers=(1, 2, 6),
        length=5120,
        l_max=(5120, 1280, 320),
        n_classes=10,
    )
    config.diffusion.beta_min = 2e-5
    config.diffusion.beta_max = 0.05
    config.diffusion.signal_scale = 5.0  # RMS 0.5 for the network: the schedule's low-noise end then lies below speech
    config.data.sample_rate = 8000
    config.data.length = 5120
    config.data.trim_db = 30.0
    config.data.rms = 0.1
    config.data.fade = 80  # 10 ms: the recordings' noise would end in a click where the zeros begin
    config.data.shift = 64
    config.data.gain = (0.8, 1.2)
    config.train.num_steps = 12_000
    config.train.batch_size = 16
    config.train.learning_rate = 2e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 200
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.999
    config.train.step_weight_power = 0.75
    config.train.log_every = 50
    config.train.checkpoint_every = 250
    config.train.keep_every = 2000
    config.train.validate_every = 1000
    config.sample.sampler = "dpm++sde"  # fresh noise at each step: an error does not stay and become a click
    config.sample.steps = 25
    config.sample.guidance = 2.5
    config.sample.digit = tuple(range(10))
    return config
