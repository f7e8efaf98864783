"""Audio that is pulled to a mel spectrogram."""

import numpy as np
import pytest

from diffwave_jax import mel_match
from diffwave_jax.mel import MelFrontEnd

FRONT_ENDS = {
    "tacotron": MelFrontEnd("tacotron", 8000, 64, n_fft=512, hop=128, window=512, fmax=4000.0),
    "lmnt": MelFrontEnd("lmnt", 22050, 80, fmin=20.0, fmax=0.0),
}


@pytest.fixture(params=FRONT_ENDS)
def front_end(request):
    return FRONT_ENDS[request.param]


def tone(front_end, frames):
    """Harmonics of a gliding pitch that swell, (frames * hop,), and their mel."""
    seconds = np.arange(frames * front_end.hop) / front_end.sample_rate
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(5 * seconds)) / front_end.sample_rate
    audio = sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.1 * np.sin(3 * seconds) ** 2
    return audio, front_end(audio[:-1])  # one sample less: as many frames as the mel shall have


def noisy(audio):
    return audio + 0.3 * np.std(audio) * np.random.default_rng(0).standard_normal(audio.shape)


def test_each_round_brings_the_mel_nearer_and_the_noise_down(front_end):
    audio, mel = tone(front_end, 40)
    start = noisy(audio)
    made = [mel_match.match(front_end, start, mel, rounds) for rounds in (0, 1, 3, 10)]
    distances = [front_end.distance(front_end(one[:-1]), mel) for one in made]
    assert np.all(np.diff(distances) < 0) and distances[-1] < 0.25 * distances[0]
    # Half the noise was in bands that should be silent; the phases of the rest stay as they are.
    assert np.std(made[-1] - audio) < 0.7 * np.std(start - audio)


def test_audio_that_has_the_mel_stays(front_end):
    audio, mel = tone(front_end, 40)
    same = mel_match.match(front_end, audio, mel, 2)
    # The end is reflected one sample later than in the mel's own audio; two rounds carry that three transforms far.
    far = 3 * front_end.n_fft
    # The transform and back in float32.
    np.testing.assert_allclose(same[:-far], audio[:-far], atol=1e-6)


def test_in_parts_as_in_one(front_end, monkeypatch):
    audio, mel = tone(front_end, 40)
    clips, mels = np.stack([noisy(audio), 2 * noisy(audio)]), np.stack([mel, mel])
    whole = mel_match.match(front_end, clips, mels, 2)
    monkeypatch.setattr(mel_match, "BLOCK", 7)
    np.testing.assert_allclose(mel_match.match(front_end, clips, mels, 2), whole, atol=1e-6)  # float32
    np.testing.assert_allclose(mel_match.match(front_end, clips[1], mels[1], 2), whole[1], atol=1e-6)


def test_what_is_not_finite_stays_for_others_to_refuse(front_end):
    audio, mel = tone(front_end, 3)
    audio[5] = np.nan
    np.testing.assert_array_equal(mel_match.match(front_end, audio, mel, 2), np.float32(audio))


def test_silence_and_a_single_frame(front_end):
    silence = np.full((front_end.n_mels, 1), front_end.range[0])
    made = mel_match.match(front_end, np.zeros(front_end.hop), silence, 3)
    np.testing.assert_array_equal(made, np.zeros(front_end.hop, np.float32))
    quiet = mel_match.match(front_end, noisy(tone(front_end, 1)[0] + 0.01), silence, 6)
    assert np.abs(quiet).max() < 1e-3  # that of the lowest mel is FLOOR in each band
