"""lmnt-com/diffwave's vocoder and its recipe: 2.6 M weights, LJ Speech at 22,050 Hz, mel spectrograms in decibels."""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section(
        "diffwave",
        channels=64,
        n_layers=30,
        dilation_cycle=10,
        length=62 * 256,
        weight_norm=False,
        step_in_residual=False,
        step_table=50,
        n_mels=80,
        shared_upsampler=True,
    )
    config.diffusion.update(num_steps=50, beta_min=1e-4, beta_max=0.05)
    config.data.update(source="ljspeech", whole=True, sample_rate=22050, length=62 * 256, mel_of="recording")
    config.mel.update(kind="lmnt", fmin=20.0, fmax=0.0)
    config.train.update(num_steps=1_000_000, batch_size=16, loss="l1", validate_every=10_000, sample_every=10_000)
    config.sample.update(sampler="fast", clamp=1.0)
    return config
