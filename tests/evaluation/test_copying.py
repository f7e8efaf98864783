"""Copy-synthesis and its scores."""

import json

import numpy as np
import pytest
import soundfile

from diffwave_jax import checkpoint
from diffwave_jax.commands import evaluate
from diffwave_jax.config import to_dict
from diffwave_jax.errors import UserError
from diffwave_jax.evaluation.copying import evaluate_copies, intelligibility, score
from diffwave_jax.evaluation.recognition import load_recogniser
from diffwave_jax.mel import MelFrontEnd
from tests.helpers.golden_vectors import golden, golden_vocoder
from tests.helpers.tiny import tiny_generator

FRONT_END = MelFrontEnd("tacotron", sample_rate=16000)


@pytest.fixture(scope="module")
def seven():
    return golden("mel_front_ends")["clip"] / np.float32(32768)


@pytest.mark.parametrize("kind", ["tacotron", "lmnt"])
def test_griffin_lim_finds_the_mel_again(seven, kind):
    mel = MelFrontEnd(kind, sample_rate=16000)
    heard = mel(seven)
    copy = mel.griffin_lim(heard, len(seven))
    # A phase that fits everywhere is not to be had: 0.9 dB and 0.94 were found; of noise as loud, 30 dB and 0.47.
    assert mel.distance(mel(copy), heard) < 1.2
    assert intelligibility(seven, copy, 16000) > 0.92
    noise = np.random.default_rng(0).standard_normal(len(seven)).astype(np.float32) * seven.std()
    assert mel.distance(mel(noise), heard) > 25 and intelligibility(seven, noise, 16000) < 0.6


def test_a_recording_is_its_own_best_copy(seven):
    same = score([seven], [seven], FRONT_END, np.array([7]), load_recogniser())
    assert same.mel_distance == 0 and same.stoi == pytest.approx(1) and same.accuracy in (0.0, 1.0)


def test_what_is_too_short_for_stoi(seven):
    assert np.isnan(intelligibility(seven[6000:8000], seven[6000:8000], 16000))


def test_the_script(tmp_path, seven, capsys):
    model = golden_vocoder("vocoder_lmnt_tiny")
    params = {name: np.asarray(value) for name, value in model._params.items()}
    model.config.sample.update(sampler="ddim", steps=1)
    checkpoint.save(tmp_path / "run", 3, params=params, config=to_dict(model.config))
    (tmp_path / "in" / "seven").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "seven" / "a.wav", seven, 16000)
    arguments = ["--checkpoint", tmp_path / "run", "--copy", tmp_path / "in", "--out", tmp_path / "out"]
    evaluate.main(evaluate.parse([str(argument) for argument in arguments]))
    said = capsys.readouterr().out
    assert said.rstrip("\n") == (tmp_path / "out" / "copies.txt").read_text().rstrip("\n")
    scores = json.loads((tmp_path / "out" / "copies.json").read_text())["scores"]
    assert list(scores) == ["recordings", "vocoder", "Griffin-Lim"]
    # Random weights copy nothing.
    assert scores["Griffin-Lim"]["mel_distance"] < scores["vocoder"]["mel_distance"]
    assert all(row["accuracy"] in (0.0, 1.0) for row in scores.values())


def test_no_vocoder_and_no_recordings(tmp_path):
    with pytest.raises(UserError, match="this model is no vocoder"):
        evaluate_copies(tiny_generator(), tmp_path, load_recogniser(), tmp_path / "out")
    with pytest.raises(UserError, match="no audio in"):
        evaluate_copies(golden_vocoder("vocoder_lmnt_tiny"), tmp_path, load_recogniser(), tmp_path / "out")
