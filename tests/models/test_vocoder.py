"""Networks that listen to a mel spectrogram, against the originals' float64 results.

Bounds: the network outputs' are the project's requirement; the parts' are a few times what float32 rounding gave here
(in parentheses), against outputs of order 1.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from diffwave_jax.errors import UserError
from diffwave_jax.models import build, model_config, weights
from diffwave_jax.models.conditioner import Condition, Upsampler
from tests.helpers.golden_vectors import golden, golden_network

LMNT, SASHIMI = "vocoder_lmnt_tiny", "vocoder_ag_sashimi_resume"


@pytest.fixture(scope="module", params=[LMNT, SASHIMI])
def tag(request):
    return request.param


@pytest.fixture(scope="module")
def network(tag):
    return golden_network(tag)


@pytest.fixture(scope="module")
def vectors(tag):
    return golden(tag)


@jax.jit
def run(network, x, t, mel, frames=None):
    condition = network.condition(Condition(jnp.swapaxes(mel, 1, 2), frames), x.shape[1])
    return network(x, t, condition=condition)


def close(found, expected, atol):
    chex.assert_trees_all_close(np.asarray(found, np.float64), expected, atol=atol, rtol=0)


def test_output(tag, network, vectors):
    y = run(network, vectors["x"], vectors["t"], vectors["mel"])
    close(y, vectors["y"], {LMNT: 5e-6, SASHIMI: 5e-5}[tag])  # (9e-7, 1.8e-6)


def test_a_padded_batch_gives_what_its_clips_give_alone(tag, network, vectors):
    mel, x, t = vectors["mel"][:2, :, :4], vectors["x"][:2, :1024], vectors["t"][:2]
    mel = np.concatenate([mel, np.full_like(mel, 7)], axis=2)  # what follows the end of a clip does not matter
    x = np.concatenate([x, np.full_like(x, 7)], axis=1)
    y = run(network, x, t, mel, np.array([4, 3]))
    # DiffWave to the last bits, SaShiMi to those of another length's FFT.
    atol = {LMNT: 4e-6, SASHIMI: 4e-6}[tag]  # (8e-7, 8e-7)
    for clip, frames in enumerate((4, 3)):
        own = slice(clip, clip + 1)
        alone = run(network, x[own, : frames * 256], t[own], mel[own, :, :frames])
        close(y[own, : frames * 256], np.asarray(alone), atol)


def test_fractional_steps():
    network, vectors = golden_network(LMNT), golden(LMNT)
    y = run(network, vectors["x"], vectors["t_fractional"], vectors["mel"])
    close(y, vectors["y_fractional"], 5e-6)  # (8e-7)
    close(network.embedding(jnp.asarray(vectors["t"])), vectors["embedding"], 3e-7)  # (6e-8)


def test_upsampler():
    vectors = golden(LMNT)
    mel = jnp.swapaxes(jnp.asarray(vectors["upsampler_in"]), 1, 2)
    y = golden_network(LMNT).upsampler(Condition(mel), 1280)
    close(y, np.swapaxes(vectors["upsampler_out"], 1, 2), 1e-7)  # (7e-9)


@pytest.mark.parametrize("length", ["long", "short"])
def test_clips_longer_and_shorter_than_the_kernels(length):
    network, vectors = golden_network(SASHIMI), golden(SASHIMI)
    y = run(network, vectors[f"x_{length}"], vectors["t"][:1], vectors[f"mel_{length}"])
    close(y, vectors[f"y_{length}"], 5e-5)  # (1.4e-6)


def test_a_vocoder_of_version_1_takes_clips_longer_than_its_kernels():
    """Beyond `l_max` its kernels are zero; a network of version 1 without a mel refuses such clips."""
    model = {"name": "sashimi", "d_model": 4, "n_layers": 1, "pool": (4,), "length": 64, "l_max": 64, "d_state": 4}
    heard = build(model | {"n_mels": 5, "upsample": (4, 4)}, rngs=nnx.Rngs(0))
    kernels = np.asarray(heard.s4_blocks()[0].s4.kernel(256))
    assert kernels[..., :64].any() and not kernels[..., 64:].any()
    chex.assert_shape(heard.filters(256)[0], (2, 4, 256))
    with pytest.raises(ValueError, match="stage 0 has 256 samples, more than its l_max 64"):
        build(model, rngs=nnx.Rngs(0)).filters(256)


def test_inner_stages_hear_the_mel_of_their_time_unless_they_crop():
    network = build(
        {
            "name": "sashimi",
            "d_model": 4,
            "n_layers": 1,
            "pool": (4,),
            "n_mels": 5,
            "length": 1024,
            "l_max": 1024,
            "d_state": 4,
        },
        rngs=nnx.Rngs(0),
    )
    mel = jax.random.normal(jax.random.key(0), (1, 4, 5))
    block = network.center[0]
    whole = block.upsampler(Condition(mel), 1024)
    found = block._mel(Condition(mel), 256)
    close(found, np.asarray(whole[:, ::4]), 3e-7)  # (6e-8: a smaller product rounds otherwise)


@pytest.mark.parametrize("factors", [(8, 16), (3, 5), (4,)])
@pytest.mark.parametrize("every", [2, 4, 16])
def test_upsampling_each_so_manieth_sample(factors, every):
    upsampler = Upsampler(factors, weight_norm=False, rngs=nnx.Rngs(0))
    condition = Condition(jax.random.normal(jax.random.key(0), (2, 6, 5)), jnp.array([6, 4]))
    length = 6 * int(np.prod(factors)) - 1
    close(upsampler(condition, length, every), np.asarray(upsampler(condition, length)[:, ::every]), 3e-7)  # (6e-8)


def test_widths_of_its_own():
    model = {
        "name": "diffwave",
        "channels": 6,
        "n_layers": 2,
        "skip_channels": 10,
        "step_widths": (8, 12, 14),
        "n_mels": 5,
        "upsample": (3, 4),
        "dilation_cycle": 2,
    }
    network = build(model, rngs=nnx.Rngs(0))
    shapes = {name: value.shape for name, value in weights.split(network)[1].items()}
    assert shapes["blocks.1.skip.v"] == (6, 10) and shapes["output1.v"] == (10, 10)
    assert shapes["embedding.fc1.kernel"] == (8, 12) and shapes["blocks.0.step.kernel"] == (14, 6)
    assert shapes["blocks.0.upsampler.layers.0.v"] == (3, 6)
    assert run(network, jnp.zeros((1, 36)), jnp.zeros(1), jnp.zeros((1, 5, 3))).shape == (1, 36)


def test_a_condition_is_given_where_there_is_one():
    network, plain = golden_network(LMNT), golden_network("diffwave_tiny")
    x, t = jnp.zeros((1, 256)), jnp.zeros(1)
    with pytest.raises(ValueError, match="give it a condition, a mel spectrogram of 80 bands"):
        network(x, t)
    with pytest.raises(ValueError, match="has 80 mel bands, this network takes 0"):
        plain(x, t, condition=Condition(jnp.zeros((1, 256, 80))))
    with pytest.raises(ValueError, match="1 mel frames last 256 samples, fewer than 512"):
        network.condition(Condition(jnp.zeros((1, 1, 80))), 512)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"n_mels": -1}, "n_mels must be at least 0"),
        ({"n_mels": 80, "n_classes": 10}, r"a mel \(n_mels 80\) or to a label \(n_classes 10\), not both"),
        ({"upsample": (16, 0)}, "upsample must be factors"),
        ({"step_widths": (127, 512, 512)}, "step_widths must be"),
        ({"name": "sashimi", "n_mels": 80, "upsample": (3, 5)}, "lasts 15 samples .* no multiple of 16"),
        ({"name": "sashimi", "version": 3}, "version must be 1 or 2"),
    ],
)
def test_impossible_conditions(fields, match):
    with pytest.raises(UserError, match=match):
        model_config({"name": "diffwave"} | fields)
