"""The likelihood of recordings, by function and by command."""

import json

import numpy as np
import pytest

from diffwave_jax import checkpoint
from diffwave_jax.commands import evaluate
from diffwave_jax.config import default_config, to_dict
from diffwave_jax.data import open_dataset
from diffwave_jax.errors import UserError
from diffwave_jax.evaluation import likelihood
from tests.helpers.audio_files import write_wav
from tests.helpers.autoregressive import converted, golden, golden_generator

RATE = 8000


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A `data` section whose test split is a clip of 1024 samples and one of 300."""
    folder = tmp_path_factory.mktemp("likelihood")
    wav = golden("ar_rf5_tiny")["wav"]
    for name, samples in {"a": wav[0], "b": wav[1][:300], "c": wav[1]}.items():
        write_wav(folder / "clips" / f"{name}.wav", samples, RATE, "FLOAT")
    (folder / "clips" / "testing_list.txt").write_text("a.wav\nb.wav\n")
    config = default_config().data
    config.update(source="folder", archive=str(folder / "clips"), data_dir=str(folder / "prepared"))
    config.update(sample_rate=RATE, length=1024)
    return config


def test_every_recorded_sample_weighs_alike(data):
    model, dataset = golden_generator("ar_rf5_tiny"), open_dataset(data, "test")
    report = likelihood.measure(model, dataset, data)
    clips = dataset.read([0, 1])
    order = np.argsort(-clips["recorded"])
    audio = clips["audio"][order]
    assert clips["recorded"][order].tolist() == [1024, 300]
    whole, short = model.nll(audio[:1])[0], model.nll(audio[1:, :300])[0]
    assert report.bits["recorded samples"].value == pytest.approx((1024 * whole + 300 * short) / 1324, rel=1e-5)
    # Float32 convolutions of another length.
    assert report.bits["with the zeros after them"].value == pytest.approx(model.nll(audio).mean(), rel=1e-5)
    # 16-bit storage moves a few tokens of the audio that the original judged.
    assert whole == pytest.approx(golden("ar_rf5_tiny")["nll_bits"][0], rel=2e-3)
    assert report.dataset is None and "published" not in report.table()


def test_published_figures_stand_beside_the_same_data():
    data = default_config().data
    assert likelihood.published_name(data) == "SC09"
    data.length = 8000
    assert likelihood.published_name(data) is None
    data.update(source="folder", archive="music/youtube_mix", windows=True)
    assert likelihood.published_name(data) == "YouTubeMix"
    data.archive = "music/other"
    assert likelihood.published_name(data) is None


def _saved(folder, data):
    """A run of the smallest reference network."""
    found = converted("ar_s4v3_unet_tiny")
    config = to_dict(golden_generator("ar_s4v3_unet_tiny").config)
    config["data"] = to_dict(data)
    checkpoint.save(folder, 1, params=found.weights, config=config)
    return folder


def test_the_command(data, tmp_path, capsys):
    run = _saved(tmp_path / "run", data)
    evaluate.main(evaluate.parse(["--checkpoint", str(run), "--nll", "--out", str(tmp_path / "out")]))
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "out" / "likelihood.json").read_text())
    bits = written["bits"]["recorded samples"]["value"]
    assert f"recorded samples            {bits:.3f} ± " in printed
    assert (tmp_path / "out" / "likelihood.txt").read_text() == printed
    assert written["clips"] == 2 and written["samples"] == "1,324 at 8,000 Hz"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["samples", "--nll"], "--nll, --rejection and --copy go with --checkpoint or --pretrained"),
        (["--checkpoint", "x", "--nll", "--rejection"], "--nll makes no clips"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message, capsys):
    with pytest.raises(SystemExit):
        evaluate.parse(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--nll", "--rejection"])
def test_a_diffusion_model_has_no_likelihood(flag, tmp_path):
    options = evaluate.parse(["--pretrained", "digits", "--n", "1", flag, "--out", str(tmp_path)])
    options.n = 1
    with pytest.raises(UserError, match=f"{flag} is for autoregressive models"):
        evaluate.main(options)
