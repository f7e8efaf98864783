import chex
import numpy as np
import pytest

from diffwave_jax.data import audio
from diffwave_jax.data.spec import DataSpec
from tests.helpers.audio_files import RATE, tone


def test_fit_cuts_and_pads_at_the_end():
    samples = np.arange(1, 11) / 32768
    chex.assert_trees_all_equal(tuple(audio.fit(samples, DataSpec(length=4))), (np.arange(1, 5, dtype=np.int16), 0, 4))
    padded, _, recorded = audio.fit(samples, DataSpec(length=12))
    chex.assert_trees_all_equal(padded, np.array([*range(1, 11), 0, 0], np.int16))
    assert recorded == 10


def test_fit_keeps_within_int16_and_counts_what_is_clipped():
    fitted, clipped, _ = audio.fit(np.array([-2.0, -1.0, 1.0, 2.0]), DataSpec(length=4))
    chex.assert_trees_all_equal(fitted, np.array([-32768, -32768, 32767, 32767], np.int16))
    assert np.abs(audio.to_float(fitted)).max() <= 1
    assert clipped == 2


def test_trim_removes_silence_at_both_ends_and_keeps_pauses():
    silence, sound = np.zeros(RATE // 2), tone(0.25)
    samples = np.concatenate([silence, sound, silence, sound, silence])
    trimmed = audio.trim(samples, DataSpec(trim_db=30.0))
    # the word is 0.25 + 0.5 + 0.25 s long; a frame of 32 ms that overlaps it counts, at each end
    assert RATE <= len(trimmed) <= RATE * 1.07


def test_silence_survives_trim_and_level():
    fitted, _, _ = audio.fit(np.zeros(1000), DataSpec(length=10, trim_db=30.0, rms=0.1))
    chex.assert_trees_all_equal(fitted, np.zeros(10, np.int16))


def test_fade_rises_and_falls_at_the_ends_of_the_sound_and_leaves_the_middle():
    fitted = audio.to_float(audio.fit(np.full(100, 0.5), DataSpec(length=120, fade=10))[0])
    steps = np.diff(fitted[:10])
    assert 0 < fitted[0] < 0.01 and np.all(steps > 0)
    chex.assert_trees_all_equal(fitted[10:90], np.full(80, 0.5, np.float32))
    chex.assert_trees_all_equal(fitted[90:100], fitted[9::-1])
    assert not fitted[100:].any()


def test_fade_of_a_clip_shorter_than_itself_stays_below_the_clip():
    fitted = audio.to_float(audio.fit(np.full(6, 0.5), DataSpec(length=6, fade=10))[0])
    assert np.all(fitted > 0) and np.all(fitted < 0.5)


@pytest.mark.parametrize(("rms", "expected"), [(0.1, 0.1), (0.9, 1 / np.sqrt(2))])
def test_level_reaches_the_rms_unless_the_peak_forbids(rms, expected):
    levelled = audio.level(tone(1.0), rms)
    # a whole number of periods: the root mean square of a sine is its peak / sqrt 2 up to rounding
    assert np.sqrt(np.mean(levelled**2)) == pytest.approx(expected, rel=1e-6)
    assert np.abs(levelled).max() <= 1
