"""The bundled vocoder: a small SaShiMi that makes speech of mel spectrograms, trained on FSDD and Speech Commands."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section(
        "sashimi",
        d_model=32,
        n_layers=(0, 3, 4),
        length=4608,
        l_max=(4608, 1152, 288),
        n_mels=64,
        upsample=(8, 16),
    )
    # The sizes of the first digits model, with whose weights the bundled vocoder began; its schedule and scale suit v.
    config.diffusion.update(prediction="v", signal_scale=16.0, beta_min=5e-5, beta_max=0.13, beta_power=3.0)
    config.data.update(source="folder", whole=True, sample_rate=8000, length=4608, mel_of="recording")
    config.mel.update(kind="lmnt", n_fft=512, window=512, hop=128, fmin=20.0, fmax=4000.0)
    config.train.update(num_steps=6000, batch_size=16, learning_rate=1.5e-3, schedule="cosine")
    config.train.update(warmup_steps=100, clip_norm=1.0, ema_decay=0.999, step_weight_power=1.0, spread_steps=True)
    config.train.update(log_every=50, checkpoint_every=250, keep_every=2000, validate_every=500)
    config.sample.update(sampler="dpm++sde", steps=6, match=10)
    return config
