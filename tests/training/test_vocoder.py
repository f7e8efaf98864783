"""A vocoder trains on parts of whole recordings, and is judged by the mels of what it copies."""

import numpy as np
import pytest
import soundfile

from configs import vocoder, vocoder_sashimi
from diffwave_jax import load
from diffwave_jax.config import default_config, model_section
from diffwave_jax.config_check import check_config
from diffwave_jax.generation.vocoding import front_end
from diffwave_jax.models import build, weights
from diffwave_jax.training.listener import Listener
from diffwave_jax.training.loop import Run


class Told(Listener):
    def __init__(self):
        self.values, self.heard = {}, []

    def scalars(self, step, values):
        self.values |= values

    def clips(self, step, audio, sample_rate):
        self.heard.append((step, audio.shape, sample_rate))


@pytest.fixture
def config(tmp_path):
    folder, random = tmp_path / "recordings", np.random.default_rng(0)
    folder.mkdir()
    for number in range(20):  # a twentieth is held out
        soundfile.write(folder / f"{number}.wav", 0.3 * random.standard_normal(1000 + 60 * number), 8000)
    config = default_config()
    config.model = model_section(
        "diffwave",
        channels=4,
        n_layers=2,
        dilation_cycle=2,
        length=320,
        n_mels=8,
        upsample=(4, 4),
        step_widths=(8, 8, 8),
    )
    config.diffusion.update(num_steps=50, beta_max=0.05)
    config.data.update(
        source="folder",
        archive=str(folder),
        data_dir=str(tmp_path / "prepared"),
        whole=True,
        sample_rate=8000,
        length=320,
        mel_of="recording",
    )
    config.mel.update(kind="tacotron", n_fft=64, hop=16, window=64, fmax=4000.0)
    config.train.update(num_steps=2, batch_size=2, loss="l1", validate_every=2, sample_every=2, checkpoint_every=2)
    config.sample.update(sampler="fast", steps=1)
    return config


@pytest.mark.parametrize("mel_of", ["recording", pytest.param("crop", marks=pytest.mark.torture)])
def test_a_run(config, tmp_path, mel_of):
    config.data.mel_of = mel_of
    told = Told()
    Run(config, tmp_path / "run", [told]).train()
    assert told.heard == [(2, (1, {"recording": 320, "crop": 336}[mel_of]), 8000)]
    assert {"loss", "validation_loss", "validation_mel_distance_db"} <= told.values.keys()
    # The network's last layer starts at zero: it predicts no noise, and the mean size of normal noise is 0.8.
    assert told.values["loss"] == pytest.approx(0.8, abs=0.1)
    model = load(tmp_path / "run")
    assert model.vocode(model.mel(np.zeros(500, np.float32), 8000), steps=1).shape == (1, 32 * 16)


@pytest.mark.parametrize(("recipe", "parameters"), [(vocoder, 2_619_971), (vocoder_sashimi, 3_153_459)])
def test_the_recipes_are_of_the_published_sizes(recipe, parameters):
    config = recipe.get_config()
    check_config(config)
    front_end(config)
    _, shapes = weights.abstract(lambda rngs: build(config.model, rngs=rngs))
    assert weights.count(shapes) == parameters
