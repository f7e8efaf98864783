"""Mel front ends against torchaudio's and NVIDIA/tacotron2's, run in float64."""

import chex
import numpy as np
import pytest

from diffwave_jax.errors import UserError
from diffwave_jax.mel import MelFrontEnd
from tests.helpers.golden_vectors import golden

LMNT = MelFrontEnd("lmnt", fmin=20.0, fmax=0.0)
TACOTRON = MelFrontEnd("tacotron")
CASES = {
    "lmnt_default": LMNT,
    "lmnt_16k_hop300": MelFrontEnd(
        "lmnt", sample_rate=16000, hop=300, n_fft=2048, window=1200, n_mels=40, fmin=20.0, fmax=0.0
    ),
    "tacotron_default": TACOTRON,
    "tacotron_hop200_win800": MelFrontEnd(
        "tacotron", sample_rate=16000, hop=200, window=800, fmin=50.0, fmax=7600.0, n_mels=40
    ),
}


def signal(name):
    vectors = golden("mel_front_ends")
    return vectors["synthetic"] if name == "synthetic" else vectors["clip"] / np.float32(32768)


@pytest.mark.parametrize(
    "name", [name for name in golden("mel_front_ends") if name.split("_")[0] in ("lmnt", "tacotron")]
)
def test_front_end(name):
    case, _, of = name.rpartition("_")
    # The rounding of results of up to 11.5 to float32, here and in the file: half a spacing of 1e-6 each.
    chex.assert_trees_all_close(CASES[case](signal(of)), golden("mel_front_ends")[name], atol=1e-6, rtol=0)


def test_blocks_of_frames_make_no_difference(monkeypatch):
    whole = TACOTRON(signal("clip"))
    monkeypatch.setattr("diffwave_jax.mel.BLOCK", 7)
    # Products of other shapes may round otherwise, in float64; the result is float32.
    chex.assert_trees_all_close(TACOTRON(signal("clip")), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("samples", [1, 100, 513, 2205])
def test_any_length(samples):
    assert TACOTRON(np.full(samples, 0.1)).shape == (80, 1 + samples // 256)


def test_a_batch_is_its_clips():
    batch = np.stack([signal("clip"), signal("clip")[::-1]])
    np.testing.assert_array_equal(TACOTRON(batch)[1], TACOTRON(batch[1]))


def test_the_louder_signal_stays_in_range():
    square = np.sign(np.sin(np.arange(8000) * 0.05))
    assert TACOTRON(square).max() < TACOTRON.range[1]
    LMNT.checked(LMNT(3 * square))  # which is clamped, as torchaudio's


@pytest.mark.parametrize(
    ("mel", "match"),
    [
        (np.zeros((40, 9)), r"takes mels \(80, frames\).*got \(40, 9\)$"),
        (np.zeros((9, 80)), r"got \(9, 80\): transpose it"),
        (np.zeros((80, 0)), r"got \(80, 0\)"),
        (np.full((80, 9), np.nan), "720 values of the mel are not finite"),
        (np.full((80, 9), -4.0), r"between -4 and -4, .* between 0 and 1: .*lmnt \(decibels from 0 to 1"),
        (np.zeros((80, 9), complex), "holds real numbers"),
    ],
)
def test_no_mel_of_lmnts(mel, match):
    with pytest.raises(UserError, match=match):
        LMNT.checked(mel)


@pytest.mark.parametrize(
    ("mel", "match"),
    [
        (np.linspace(0, 1, 800).reshape(80, 10), "lies between 0 and 1, as lmnt's do"),
        (np.linspace(-4, 4, 800).reshape(80, 10), r"between -4 and 4, .* between -11.5 and 3.23"),
        (np.maximum(TACOTRON(signal("synthetic")) / np.log(10), -5), "ends at -5, as decimal logarithms do"),
    ],
)
def test_no_mel_of_tacotrons(mel, match):
    with pytest.raises(UserError, match=match):
        TACOTRON.checked(mel)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"kind": "none"}, "mel.kind is 'none'"),
        ({"kind": "lmnt", "window": 2048}, "window is 2048, longer"),
        ({"kind": "lmnt", "sample_rate": 8000}, "mel.fmax 8000 Hz do not lie"),
    ],
)
def test_impossible_front_ends(fields, match):
    with pytest.raises(UserError, match=match):
        MelFrontEnd(**fields)


def test_audio_that_is_none():
    for audio in (np.zeros(0), np.array([0.1, np.inf])):
        with pytest.raises(UserError, match="at least one sample"):
            TACOTRON(audio)
