"""A SaShiMi vocoder of the size its authors released, 3.2 M weights, on LJ Speech with Tacotron 2's mel spectrograms.

Unlike theirs, its inner stages hear the mel of their own time, and batches are larger than 4.
"""

from diffwave_jax.config import default_config, model_section


def get_config():
    """The config, whole: what is not set here keeps its default of `diffwave_jax.config.default_config`."""
    config = default_config()
    config.model = model_section("sashimi", version=2, d_model=32, l_max=(16000, 4000, 1000), length=16000, n_mels=80)
    config.diffusion.update(num_steps=50, beta_min=1e-4, beta_max=0.05)
    config.data.update(source="ljspeech", whole=True, sample_rate=22050, length=16000)
    config.mel.update(kind="tacotron")
    config.train.update(num_steps=1_000_000, batch_size=16, validate_every=10_000, sample_every=10_000)
    config.sample.update(sampler="fast")
    return config
