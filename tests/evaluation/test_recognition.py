from pathlib import Path

import numpy as np
import pytest
from scipy import special

from diffwave_jax.config import default_config, model_section
from diffwave_jax.errors import UserError
from diffwave_jax.evaluation import recognition
from diffwave_jax.evaluation.recognition import Recogniser, Recognition, load_recogniser


def test_bundled_classifier_hears_real_digits(recogniser, real):
    heard = recogniser(real.audio)
    np.testing.assert_array_equal(heard.logits.argmax(axis=1), np.arange(10))


def test_bundled_classifier_is_97_percent_right_on_the_test_split(reference):
    for heard, count in ((reference.test, 300), (reference.train, 2400)):
        right = heard.recognition.logits.argmax(axis=1) == heard.labels
        assert len(right) == count and right.mean() >= 0.97
        assert min(right[heard.labels == digit].mean() for digit in range(10)) >= 0.9


def test_bundled_files_are_at_most_3_megabytes():
    assert sum(path.stat().st_size for path in Path(str(recognition.BUNDLED)).rglob("*")) <= 3e6


@pytest.mark.parametrize("rate", [16000, 22050, 44100])
def test_any_sample_rate(recogniser, real, rate):
    import librosa

    faster = librosa.resample(real.audio, orig_sr=recogniser.sample_rate, target_sr=rate)
    fitted = recogniser.fit(faster, rate)
    assert fitted.shape == real.audio.shape
    np.testing.assert_array_equal(recogniser(fitted).logits.argmax(axis=1), np.arange(10))


def test_fit_pads_and_cuts(recogniser):
    short = recogniser.fit(np.ones(100, np.float32), recogniser.sample_rate)
    assert short.shape == (recogniser.length,) and short.sum() == 100
    assert recogniser.fit(np.ones((2, 99999)), recogniser.sample_rate).shape == (2, recogniser.length)


def test_number_of_clips_changes_nothing(recogniser, noise):
    many = np.tile(noise, (2, 1))
    seen = []
    heard = recogniser(many, lambda done, total: seen.append((done, total)))
    assert heard.features.shape == (120, 128) and seen == [(100, 120), (120, 120)]
    one = recogniser(many[70:71])
    # Every batch runs the same program on the same number of rows.
    np.testing.assert_array_equal(heard.logits[70:71], one.logits)


def test_probabilities_are_the_softmax_and_never_zero():
    logits = np.array([[0.0, 200.0, -300.0]])
    probabilities = Recognition(np.zeros((1, 2)), logits).probabilities
    np.testing.assert_allclose(probabilities, special.softmax(logits, axis=1))
    assert probabilities.min() > 0


def test_fingerprint_tells_weights_and_input_apart(recogniser):
    config = recogniser.config.copy_and_resolve_references()
    assert Recogniser(config, recogniser._params).fingerprint == recogniser.fingerprint
    changed = {name: value + (name == "output.bias") for name, value in recogniser._params.items()}
    assert Recogniser(config, changed).fingerprint != recogniser.fingerprint
    config.data.length += 1
    assert Recogniser(config, recogniser._params).fingerprint != recogniser.fingerprint


def test_no_clips(recogniser):
    with pytest.raises(UserError, match="N > 0"):
        recogniser(np.zeros((0, recogniser.length), np.float32))


def test_a_generative_model_is_no_classifier():
    config = default_config()
    config.model = model_section("diffwave")
    with pytest.raises(UserError, match="a classifier is needed, found a diffwave model"):
        Recogniser(config, {})


def test_missing_classifier(tmp_path):
    with pytest.raises(UserError, match="no checkpoint folder"):
        load_recogniser(tmp_path / "nowhere")
