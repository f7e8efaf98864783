import chex
import numpy as np
import pytest

from diffwave_jax.data import audio
from diffwave_jax.data.spec import DataSpec
from tests.helpers.audio_files import RATE, tone, write_wav


def test_reads_pcm16_exactly(tmp_path):
    samples = np.array([-32768, -1, 0, 1, 32767], np.int16)
    read, rate = audio.read(write_wav(tmp_path / "x.wav", samples))
    assert rate == RATE
    chex.assert_trees_all_equal(read, (samples / 32768).astype(np.float32))


def test_mixes_down_to_mono(tmp_path):
    stereo = np.stack([tone(), -0.5 * tone()], axis=1)
    read, _ = audio.read(write_wav(tmp_path / "x.wav", stereo, subtype="FLOAT"))
    # float32 storage of values below 0.5: half a unit in the last place is 3e-8
    chex.assert_trees_all_close(read, (0.25 * tone()).astype(np.float32), atol=6e-8)


def test_reads_only_the_seconds_asked_for(tmp_path):
    read, _ = audio.read(write_wav(tmp_path / "x.wav", tone(1.0)), seconds=0.1)
    assert len(read) == RATE // 10


def test_damage_is_told_apart(tmp_path):
    path = write_wav(tmp_path / "x.wav", tone(1.0))
    content = path.read_bytes()
    for damaged, reason in {
        b"": "not recogni",
        b"noise" * 100: "not recogni",
        content[:44]: "holds no samples|ends after 0 of 32000 bytes",
        content[:20000]: "ends after 19956 of 32000 bytes of audio",
    }.items():
        path.write_bytes(damaged)
        with pytest.raises(audio.CorruptClipError, match=reason):
            audio.read(path)


def test_a_header_written_before_the_length_was_known_is_no_damage(tmp_path):
    path = write_wav(tmp_path / "x.wav", tone(0.1))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(audio.read(path)[0]) == RATE // 10


def test_samples_that_are_not_finite_are_damage(tmp_path):
    path = write_wav(tmp_path / "x.wav", np.array([0.0, np.nan, 0.0]), subtype="FLOAT")
    with pytest.raises(audio.CorruptClipError, match="not finite"):
        audio.read(path)


def test_fit_cuts_and_pads_at_the_end():
    samples = np.arange(1, 11) / 32768
    chex.assert_trees_all_equal(audio.fit(samples, DataSpec(length=4)), np.arange(1, 5, dtype=np.int16))
    padded = audio.fit(samples, DataSpec(length=12))
    chex.assert_trees_all_equal(padded, np.array([*range(1, 11), 0, 0], np.int16))


def test_fit_keeps_within_int16():
    fitted = audio.fit(np.array([-2.0, -1.0, 1.0, 2.0]), DataSpec(length=4))
    chex.assert_trees_all_equal(fitted, np.array([-32768, -32768, 32767, 32767], np.int16))
    assert np.abs(audio.to_float(fitted)).max() <= 1


def test_trim_removes_silence_at_both_ends_and_keeps_pauses():
    silence, sound = np.zeros(RATE // 2), tone(0.25)
    samples = np.concatenate([silence, sound, silence, sound, silence])
    trimmed = audio.trim(samples, DataSpec(trim_db=30.0))
    # the word is 0.25 + 0.5 + 0.25 s long; a frame of 32 ms that overlaps it counts, at each end
    assert RATE <= len(trimmed) <= RATE * 1.07


def test_silence_survives_trim_and_level():
    fitted = audio.fit(np.zeros(1000), DataSpec(length=10, trim_db=30.0, rms=0.1))
    chex.assert_trees_all_equal(fitted, np.zeros(10, np.int16))


def test_fade_rises_and_falls_at_the_ends_of_the_sound_and_leaves_the_middle():
    fitted = audio.to_float(audio.fit(np.full(100, 0.5), DataSpec(length=120, fade=10)))
    steps = np.diff(fitted[:10])
    assert 0 < fitted[0] < 0.01 and np.all(steps > 0)
    chex.assert_trees_all_equal(fitted[10:90], np.full(80, 0.5, np.float32))
    chex.assert_trees_all_equal(fitted[90:100], fitted[9::-1])
    assert not fitted[100:].any()


def test_fade_of_a_clip_shorter_than_itself_stays_below_the_clip():
    fitted = audio.to_float(audio.fit(np.full(6, 0.5), DataSpec(length=6, fade=10)))
    assert np.all(fitted > 0) and np.all(fitted < 0.5)


@pytest.mark.parametrize(("rms", "expected"), [(0.1, 0.1), (0.9, 1 / np.sqrt(2))])
def test_level_reaches_the_rms_unless_the_peak_forbids(rms, expected):
    levelled = audio.level(tone(1.0), rms)
    # a whole number of periods: the root mean square of a sine is its peak / sqrt 2 up to rounding
    assert np.sqrt(np.mean(levelled**2)) == pytest.approx(expected, rel=1e-6)
    assert np.abs(levelled).max() <= 1
