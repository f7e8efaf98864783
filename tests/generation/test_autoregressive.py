import gc
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax import UserError
from diffwave_jax.generation.autoregression import DRAWN
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.generation.drawing import Sharpness, draw
from tests.helpers.autoregressive import TAGS, golden, golden_generator

SHARPNESS = {"sample": (1.0, 1.0), "nucleus": (0.8, 0.9), "tempered": (0.7, 1.0), "primed": (1.0, 1.0)}
PRIMED = {"ar_s4v2_tiny": 96}  # tokens of the recording that the original keeps of a prefix of 96; the others one less


@pytest.fixture(scope="module")
def small():
    """The smallest of the networks."""
    return golden_generator("ar_s4v3_unet_tiny")


@pytest.mark.parametrize("implementation", ["numba", "xla"])
@pytest.mark.parametrize("tag", TAGS)
def test_golden_draws(tag, implementation):
    """Every token drawn by given uniforms, exactly, by one program; and the likelihood of what was drawn."""
    vectors = golden(tag)
    model = golden_generator(tag, implementation)
    for name in ("sample", "nucleus", "tempered", "primed"):
        if f"{name}_tokens" not in vectors:
            continue
        temperature, top_p = (1.0, 0.9) if (tag, name) == ("ar_rf5_tiny", "nucleus") else SHARPNESS[name]
        expected = vectors[f"{name}_tokens"].astype(np.int32)
        given = np.full(expected.T.shape, DRAWN, np.int32)
        kept = PRIMED.get(tag, 95) if name == "primed" else 0
        given[:kept] = vectors["x"][0, 1 : kept + 1, None]
        sharpness = Sharpness(jnp.float32(temperature), jnp.float32(top_p))
        uniforms = jnp.asarray(vectors[f"{name}_uniforms"].T)
        _, steps = model._streams.run(model._streams.start(3), given, uniforms, sharpness)
        np.testing.assert_array_equal(steps.tokens.T, expected, err_msg=name)
        if f"{name}_logprob" in vectors:
            found = np.asarray(steps.log_probability)[kept:].sum(axis=0)
            # Sums of some 200 numbers of about 5, each off by the logits' 6e-6.
            np.testing.assert_allclose(found, vectors[f"{name}_logprob"], rtol=0, atol=1e-3, err_msg=name)
        if f"{name}_audio" in vectors:
            np.testing.assert_allclose(model.code.decode(expected), vectors[f"{name}_audio"], rtol=0, atol=3e-7)


def test_golden_likelihood_of_audio():
    """In bits a sample, after the token that stands before every clip."""
    vectors = golden("ar_rf5_tiny")
    found = golden_generator("ar_rf5_tiny").nll(vectors["wav"])
    np.testing.assert_allclose(found, vectors["nll_bits"], rtol=0, atol=2e-6)  # the mean of logits off by 6e-6


def test_golden_log_probabilities(small):
    vectors = golden("ar_s4v3_unet_tiny")
    counted = vectors["y"] >= 0
    found = log_probabilities(small, vectors["x"].astype(np.int32), np.maximum(vectors["y"], 0))
    # Of logits off by 6e-6.
    np.testing.assert_allclose(found[counted], vectors["logprob"][counted], rtol=0, atol=1.5e-5)


def log_probabilities(model, tokens, following):
    """Of the tokens that follow, by convolution."""
    logits = np.asarray(jax.nn.log_softmax(model.logits(tokens)))
    return np.take_along_axis(logits, following[..., None], axis=-1)[..., 0]


def test_a_stream_depends_on_seed_and_index_alone(small):
    three = small.generate(3, seed=3, length=48)
    assert three.shape == (3, 48)
    np.testing.assert_array_equal(small.generate(3, seed=3, length=33), three[:, :33])
    np.testing.assert_array_equal(small.generate(2, seed=3, length=48), three[:2])
    assert np.any(small.generate(2, seed=4, length=48) != three[:2])
    assert np.any(three[0] != three[1])


def test_a_stream_of_the_loops_is_the_same_bit_for_bit_in_any_company(small):
    """Alone, among three, and among twenty, which go through other loops, four at a time."""
    together = np.asarray(next(small.stream(20, seed=7, length=96)).log_probability)
    three = next(small.stream(3, seed=7, length=96))
    np.testing.assert_array_equal(three.log_probability, together[:3])
    np.testing.assert_array_equal(next(small.stream(1, seed=7, length=96)).log_probability, together[:1])


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9)])
def test_loops_and_xla_make_the_same_streams(temperature, top_p):
    """The tokens; none of these draws is a tie that another rounding decides."""
    numba, xla = (
        next(golden_generator("ar_s4v3_tiny", name).stream(5, 3, temperature, top_p, length=256))
        for name in ("numba", "xla")
    )
    np.testing.assert_array_equal(numba.tokens, xla.tokens)
    # Both are off by some 6e-6 of the logits.
    np.testing.assert_allclose(numba.log_probability, xla.log_probability, rtol=0, atol=2e-5)


def test_pieces_of_a_stream_go_on_where_the_last_ended():
    """By the loops and by XLA's program: the state between them is all that a stream needs."""
    for name in ("numba", "xla"):
        model = golden_generator("ar_s4v3_unet_tiny", name)
        uniforms = jnp.asarray(np.random.default_rng(0).random((64, 2), np.float32))
        given = np.full((64, 2), DRAWN, np.int32)
        _, whole = model._streams.run(model._streams.start(2), given, uniforms)
        state, first = model._streams.run(model._streams.start(2), given[:32], uniforms[:32])
        _, second = model._streams.run(state, given[32:], uniforms[32:])
        np.testing.assert_array_equal(np.concatenate([first.tokens, second.tokens]), whole.tokens)


PROGRAM = """
import sys
import numpy as np
from tests.helpers.autoregressive import golden_generator
model = golden_generator("ar_s4v3_unet_tiny", "xla")
np.savez(sys.argv[1], clips=model.generate(3, seed=3, length=64), devices=model._streams.num_devices)
"""


def test_streams_are_spread_over_all_devices(tmp_path):
    """Three streams and a copy on two devices: what one device makes of two at a time, bit for bit."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "made.npz")]
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[2], env=environment)
    made = np.load(tmp_path / "made.npz")
    assert made["devices"] == 2
    model = golden_generator("ar_s4v3_unet_tiny", "xla")
    np.testing.assert_array_equal(made["clips"], model.generate(3, seed=3, length=64, batch_size=2))


def test_many_streams_go_in_batches(small, monkeypatch):
    three = small.generate(3, seed=3, length=48)
    monkeypatch.setattr("diffwave_jax.generation.autoregressive_generator.STREAMS", {"cpu": 2})
    np.testing.assert_array_equal(small.generate(3, seed=3, length=48), three)


def test_endless_output_is_the_clip_going_on(small, monkeypatch):
    clips = small.generate(2, seed=1, length=48)
    monkeypatch.setattr("diffwave_jax.generation.autoregressive_generator.CHUNK", 16)
    stream = small.stream(2, seed=1)
    pieces = [small.code.decode(next(stream).tokens) for _ in range(3)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), clips)


def test_endless_output_takes_no_more_memory_as_it_goes_on(small, monkeypatch):
    monkeypatch.setattr("diffwave_jax.generation.autoregressive_generator.CHUNK", 16)
    stream = small.stream(2, seed=1)
    tracemalloc.start()
    try:
        held = []
        for _ in range(4):
            for _ in range(120):
                next(stream)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # Tokens and log-probabilities of 120 pieces would be more, each time; what else a process takes comes now and then.
    assert np.diff(held).min() < 8 * 2 * 120 * 16


def test_steps_and_convolution_give_the_same_likelihood(small):
    (streams,) = small.stream(2, seed=5, length=48)
    before = np.concatenate([np.full((2, 1), 128), streams.tokens[:, :-1]], axis=1)
    expected = log_probabilities(small, before, streams.tokens)
    np.testing.assert_allclose(streams.log_probability, expected, rtol=0, atol=2e-5)  # both modes' 6e-6 of the logits


def test_a_prime_is_kept_and_heard(small):
    prime = np.sin(np.arange(33) / 3).astype(np.float32)
    clips = small.generate(2, seed=0, length=48, prime=prime)
    expected = np.repeat(small.code.decode(small.encode(prime[None])), 2, axis=0)
    np.testing.assert_array_equal(clips[:, :33], expected)
    assert np.any(clips[:, 33:] != small.generate(2, seed=0, length=48)[:, 33:])
    np.testing.assert_array_equal(small.generate(2, length=33, prime=prime), expected)


def test_clips_of_any_length(small):
    """Logits and likelihoods of clips that are no multiple of the period, and of those longer than the kernels."""
    tokens = np.random.default_rng(0).integers(0, 256, (1, 1040))
    whole = small.logits(tokens)
    np.testing.assert_allclose(small.logits(tokens[:, :1001]), whole[:, :1001], rtol=0, atol=1e-5)
    assert small.nll(np.random.default_rng(0).uniform(-1, 1, (2, 7))).shape == (2,)


def test_weights_that_give_no_numbers(small):
    broken = dict(small._params) | {"head.bias": jnp.full(256, jnp.nan)}
    with pytest.raises(UserError, match="gives no numbers after 0 samples"):
        AutoregressiveGenerator(small.config, broken).generate(2, length=48)


def test_a_draw_is_never_a_token_left_out():
    logits = jnp.log(jnp.asarray([[0.5, 0.3, 0.2] + [0.0] * 253], jnp.float32))
    nearly_one = jnp.full(1, np.nextafter(np.float32(1), np.float32(0)))
    assert draw(logits, nearly_one)[0] == 2
    assert draw(logits, nearly_one, Sharpness(jnp.float32(1), jnp.float32(0.4)))[0] == 0
    assert draw(logits, nearly_one, Sharpness(jnp.float32(1), jnp.float32(0.6)))[0] == 1
    assert draw(logits, jnp.zeros(1))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n is 0; ask for at least 1 clip"),
        ({"length": 0}, "length is 0; ask for at least 1 sample"),
        ({"seed": -1}, "seed is -1"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"prime": np.ones((2, 5))}, r"prime has shape \(2, 5\)"),
        ({"prime": np.arange(40.0)}, "the prime has 40 samples, more than the 32"),
        ({"prime": np.zeros(5)}, "the prime is silent"),
        ({"prime": np.array([0, np.nan])}, "give finite samples"),
        ({"prime": np.array([0, -32768], np.int16)}, "integers of int16: divide them"),
    ],
    ids=str,
)
def test_bad_input(small, arguments, message):
    with pytest.raises(UserError, match=message):
        small.generate(**{"n": 1, "length": 32} | arguments)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((1, 0), int), "give integers"),
        (np.zeros((1, 4)), "float64; give integers"),
        (np.full((1, 4), 256), "lie between 256 and 256"),
    ],
    ids=["empty", "float", "range"],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_tokens(small, tokens, message):
    with pytest.raises(UserError, match=message):
        small.logits(tokens)
