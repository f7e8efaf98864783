"""The bundled model: a small SaShiMi that speaks the ten digits at 8 kHz in six voices, trained on FSDD."""

from diffwave_jax.config import default_config, model_section

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section(
        "sashimi",
        d_model=40,
        n_layers=(0, 4, 4),
        length=5760,
        l_max=(5760, 1440, 360),
        output_taps=9,  # sees two steps of the second stage: a fainter tone at its rate in the silence
        n_classes=10,
        n_speakers=len(SPEAKERS),
    )
    # The signal's RMS is 1 for the network, as suits v. Variances rise with the third power of the step, so that half
    # of the steps have less noise than signal.
    config.diffusion.prediction = "v"
    config.diffusion.signal_scale = 10.0
    config.diffusion.beta_min = 5e-5
    config.diffusion.beta_max = 0.13
    config.diffusion.beta_power = 3.0
    config.data.sample_rate = 8000
    config.data.length = 5760  # 99.6 % of the recordings are shorter
    config.data.speakers = SPEAKERS
    config.data.trim_db = 30.0
    config.data.rms = 0.1
    config.data.fade = 80  # 10 ms: the recordings' noise would end in a click where the zeros begin
    config.data.shift = 64
    config.data.gain = (0.8, 1.2)
    config.train.num_steps = 8000
    config.train.batch_size = 16
    config.train.learning_rate = 1.5e-3
    config.train.muon_learning_rate = 4.5e-3
    config.train.schedule = "decay"
    config.train.decay_steps = 3200
    config.train.warmup_steps = 200
    config.train.clip_norm = 1.0
    config.train.ema_decay = 0.999
    # Half way from the noise's error to that of v, and less at steps with more than 20 times as much signal as noise:
    # the steps from 60 to 130, which decide how clear harmonics are, weigh more.
    config.train.step_weight_power = 0.5
    config.train.snr_limit = 20.0
    config.train.spread_steps = True
    config.train.log_every = 50
    config.train.checkpoint_every = 250
    config.train.keep_every = 2000
    config.train.validate_every = 500
    config.sample.sampler = "dpm++sde"  # fresh noise at each step: an error does not stay and become a click
    config.sample.steps = 25
    config.sample.guidance = 1.75
    config.sample.guided_steps = (20, 199)  # at the cleanest steps guidance would be heard in the pauses
    config.sample.guide_memory = 0.2
    config.sample.noise_scale = 0.85  # less of it: clearer harmonics
    config.sample.early = (116, 2.5, 0.97)  # the steps that decide the word: more of both
    config.sample.digit = tuple(range(10))
    return config
