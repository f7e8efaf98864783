import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from flax import nnx

from diffwave_jax.errors import UserError
from diffwave_jax.models import build, classifier
from diffwave_jax.models.classifier import Classifier, ClassifierConfig

SMALL = ClassifierConfig(sample_rate=8000, length=4000, n_classes=3, n_mels=20, channels=(8, 16), blocks=2, width=3)
AUDIO = 0.1 * np.random.default_rng(0).standard_normal((4, 4000)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return nnx.jit(lambda: Classifier(SMALL, rngs=nnx.Rngs(0)))()


@pytest.fixture(scope="module")
def hear(network):
    return nnx.jit(network)


@pytest.mark.parametrize("length", [4000, 1000])
def test_shapes(network, length):
    def shapes(audio):
        mel = network.mel(audio)
        features = network.features(mel)
        return mel, features, network.logits(features)

    mel, features, logits = jax.eval_shape(shapes, AUDIO[:, :length])
    assert mel.shape == (4, length // 80 + 1, 20)
    assert (features.shape, logits.shape) == ((4, 16), (4, 3))


@pytest.mark.parametrize(("rate", "n_mels"), [(8000, 40), (16000, 64)])
def test_log_mel_against_librosa(rate, n_mels):
    clip = np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, rate)) / rate).astype(np.float32)
    clip[rate // 2 :] *= 0.01
    window, hop = round(0.032 * rate), round(0.01 * rate)
    power = librosa.feature.melspectrogram(
        y=clip, sr=rate, n_fft=window, hop_length=hop, n_mels=n_mels, fmin=60, pad_mode="constant",
        window=np.hanning(window),
    )  # fmt: skip
    expected = 1 + np.log10(power / power.max() + 1e-5) * 2 / 5
    found = np.asarray(classifier.log_mel(clip[None], rate, n_mels))[0].T
    # 1e-3 of a range of 2: float32 spectra of bands 50 dB below the loudest.
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_level_changes_nothing(hear):
    # 1e-4 of logits of about 1: float32 rounding through the network.
    np.testing.assert_allclose(hear(0.01 * AUDIO), hear(AUDIO), atol=1e-4)


def test_clips_of_a_batch_do_not_meet(hear):
    # 1e-5: another batch size may add in another order.
    np.testing.assert_allclose(hear(AUDIO)[1:2], hear(AUDIO[1:2]), atol=1e-5)


def test_silence_is_finite(hear):
    assert np.all(np.isfinite(hear(np.zeros((4, 4000), np.float32))))


def test_gradient_is_finite_for_silence_and_sound(network):
    graph, params = nnx.split(network)
    audio = jnp.concatenate([AUDIO, jnp.zeros((1, 4000))])
    grads = jax.jit(jax.grad(lambda params: nnx.merge(graph, params)(audio).sum()))(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(grads))


def test_is_built_from_a_config():
    fields = {"name": "classifier", "sample_rate": 8000, "channels": [16, 24], "n_classes": 7}
    network = nnx.eval_shape(lambda: build(fields, rngs=nnx.Rngs(0)))
    assert network.output.kernel.shape == (24, 7)


@pytest.mark.parametrize("bad", [{"channels": ()}, {"channels": (12,)}, {"n_mels": 0}, {"n_classes": -1}])
def test_bad_config(bad):
    with pytest.raises(UserError, match=next(iter(bad))):
        build({"name": "classifier", **bad}, rngs=nnx.Rngs(0))
