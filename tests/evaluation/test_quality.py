import numpy as np
import pytest

from diffwave_jax.evaluation import quality

RATE = 8000


def voice(pitch, seconds=0.5, harmonics=15, rate=RATE):
    time = np.arange(int(seconds * rate)) / rate
    multiples = np.arange(1, min(harmonics, int(0.45 * rate / pitch)) + 1)
    return np.sum(np.sin(2 * np.pi * pitch * multiples[:, None] * time) / multiples[:, None], axis=0)


def with_noise(signal, ratio_db, seed=0):
    noise = np.random.default_rng(seed).standard_normal(signal.shape)
    noise *= np.sqrt(np.mean(signal**2) / np.mean(noise**2)) * 10 ** (-ratio_db / 20)
    return signal + noise


@pytest.mark.parametrize("floor_db", [-20.0, -40.0, -60.0])
def test_noise_floor_is_the_level_of_the_noise_after_the_word(floor_db):
    tone = np.sqrt(2) * np.sin(2 * np.pi * 200 * np.arange(4000) / RATE)
    clip = np.concatenate([tone, 10 ** (floor_db / 20) * np.random.default_rng(0).standard_normal(4000)])
    # 1.5 dB: the lowest tenth of 20 ms frames of white noise lies about 0.6 dB below their mean power.
    np.testing.assert_allclose(quality.noise_floor(clip[None], RATE), [floor_db], atol=1.5)


def test_noise_floor_of_digital_silence_is_the_lowest_level():
    clip = np.concatenate([np.ones(4000), np.zeros(4000)])
    np.testing.assert_array_equal(quality.noise_floor(clip[None], RATE), [quality.SILENCE_DB])


def test_noise_floor_does_not_depend_on_gain():
    clip = np.random.default_rng(1).standard_normal((2, 5120)) * np.linspace(0, 1, 5120)
    # Only rounding: a gain multiplies every frame's power alike.
    np.testing.assert_allclose(quality.noise_floor(clip, RATE), quality.noise_floor(0.01 * clip, RATE), atol=1e-6)


@pytest.mark.parametrize("pitch", [90.0, 130.0, 210.0])
@pytest.mark.parametrize("ratio_db", [5.0, 10.0, 20.0])
def test_harmonicity_is_the_ratio_of_tone_to_noise(pitch, ratio_db):
    clip = with_noise(voice(pitch), ratio_db)
    ratio, voiced = quality.harmonics_to_noise_ratio(clip[None], RATE)
    # 1 dB: the noise has correlation peaks of its own near the period, and the maximum picks one.
    np.testing.assert_allclose(ratio, [ratio_db], atol=1.0)
    np.testing.assert_array_equal(voiced, [1.0])


def test_noise_is_not_voiced():
    ratio, voiced = quality.harmonics_to_noise_ratio(np.random.default_rng(0).standard_normal((4, 5120)), RATE)
    assert np.all(voiced < 0.05)
    assert np.all(np.isnan(ratio[voiced == 0]))


def test_harmonicity_does_not_depend_on_sample_rate():
    at_8k = quality.harmonics_to_noise_ratio(voice(120)[None], 8000)[0]
    at_16k = quality.harmonics_to_noise_ratio(voice(120, rate=16000)[None], 16000)[0]
    assert at_8k > 25 and at_16k > 25


def test_a_band_keeps_its_tones_where_they_are():
    time = np.arange(4000) / RATE
    low, high = np.sin(2 * np.pi * 400 * time), np.sin(2 * np.pi * 1500 * time)
    part = quality.band((low + high)[None], RATE, 0, 700)[0]
    # Away from the ends, where a tone that begins at once has every frequency.
    np.testing.assert_allclose(part[800:-800], low[800:-800], atol=2e-3)


def test_level_above_a_frequency_is_the_tones_share():
    time = np.arange(4000) / RATE  # a whole number of periods of either tone
    clip = np.sin(2 * np.pi * 400 * time) + 0.1 * np.sin(2 * np.pi * 3000 * time)
    np.testing.assert_allclose(quality.level_above(clip[None], RATE, 2000), [10 * np.log10(0.01 / 1.01)], atol=1e-9)


@pytest.mark.parametrize(("frequency", "gain"), [(0, 5 / 12), (2000, 1 / 12), (4000, 5 / 12)])
def test_tone_in_silence_is_heard_there_and_nowhere_else(frequency, gain):
    """Hann's window of N = 512: noise of power s^2 has 3 N s^2 / 8 in each bin; a tone of amplitude A has A^2 N^2 / 32
    as the mean of three bins, and 5 A^2 N^2 / 32 as the mean of the two at either end of the spectrum."""
    time = np.arange(5120) / RATE
    tone = 1e-3 * np.cos(2 * np.pi * frequency * time) + 1e-4 * np.random.default_rng(0).standard_normal(5120)
    clip = (tone + np.where(time < 0.25, voice(120, 0.64), 0))[None]
    # 1.5 dB: the surroundings are known from some six independent frames of 33 bins.
    expected = 10 * np.log10(gain * 512 * 1e-6 / 1e-8)
    np.testing.assert_allclose(quality.tone_in_silence(clip, RATE, frequency), [expected], atol=1.5)
    np.testing.assert_allclose(quality.tone_in_silence(clip, RATE, 1000), [0], atol=2.5)  # three bins of noise


def test_without_silence_no_tone_is_measured():
    silent_or_loud = np.stack([np.zeros(5120), np.ones(5120)])
    assert np.all(np.isnan(quality.tone_in_silence(silent_or_loud, RATE, 2000)))


def test_log_mel_image_ignores_level_and_delay():
    word = voice(120, 0.2) * np.hanning(1600)
    clip = np.concatenate([word, np.zeros(3520)])
    later = 0.1 * np.concatenate([np.zeros(800), word, np.zeros(2720)])
    images = quality.log_mel_image(np.stack([clip, later]), RATE)
    assert images.shape == (2, 65, 40)
    # The delay is a whole number of hops: only rounding in quiet bins differs, and -60 dB cuts it.
    np.testing.assert_allclose(images[0], images[1], atol=1e-6)
    assert images.max() == 0 and images.min() == -60


def test_log_mel_image_of_silence_is_finite():
    assert np.all(np.isfinite(quality.log_mel_image(np.zeros((1, 4000)), RATE)))
