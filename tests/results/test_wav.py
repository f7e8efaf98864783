"""WAV files: 16 bits, nothing lost but what is out of range, and what made them on record."""

import os

import numpy as np
import pytest
import soundfile

from diffwave_jax.errors import UserError
from diffwave_jax.results import wav


def test_audio_survives_to_half_a_step(tmp_path):
    audio = np.random.default_rng(0).uniform(-1, 1 - 1 / 32768, 500).astype(np.float32)
    samples, clipped = wav.to_pcm(audio)
    wav.write(tmp_path / "a.wav", samples, 8000, {"index": 3, "digit": None})
    clip = wav.read(tmp_path / "a.wav")
    assert clipped == 0
    assert soundfile.info(tmp_path / "a.wav").subtype == "PCM_16"
    np.testing.assert_allclose(clip.audio, audio, atol=0.5 / 32768 + 1e-9)  # half of PCM16's step
    assert clip.sample_rate == 8000 and clip.record == {"index": 3, "digit": None}
    assert wav.read_record(tmp_path / "a.wav") == clip.record


def test_samples_out_of_range_are_counted_and_clipped():
    samples, clipped = wav.to_pcm(np.array([0.0, 1.5, -1.25, 1.0, -1.0], np.float32))
    assert clipped == 2
    np.testing.assert_array_equal(samples, [0, 32767, -32768, 32767, -32768])


def test_normalizing_scales_the_peak_and_clips_nothing():
    samples, clipped = wav.to_pcm(np.array([0.0, 4.0, -2.0], np.float32), normalize=True)
    assert clipped == 0
    np.testing.assert_array_equal(samples, np.rint(np.array([0, 0.95, -0.475]) * 32768))
    silence, _ = wav.to_pcm(np.zeros(3, np.float32), normalize=True)
    np.testing.assert_array_equal(silence, [0, 0, 0])


def test_audio_that_is_not_finite_is_refused():
    with pytest.raises(UserError, match="not finite"):
        wav.to_pcm(np.array([0.0, np.nan]))


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        wav.write(tmp_path / "a.wav", np.zeros(3, np.int16), 8000, {"index": object()})
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_ours(tmp_path):
    soundfile.write(tmp_path / "other.wav", np.zeros(10), 8000)
    assert wav.read_record(tmp_path / "other.wav") == {}
    (tmp_path / "text.wav").write_text("no audio")
    for read in (wav.read, wav.read_record):
        with pytest.raises(UserError, match=r"text\.wav cannot be read as audio"):
            read(tmp_path / "text.wav")


def test_a_recording_is_made_to_fit_a_model(tmp_path):
    seconds = np.arange(2000) / 16000
    tone = 0.5 * np.sin(2 * np.pi * 440 * seconds)
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone, tone], axis=1), 16000)
    audio = wav.read_recording(tmp_path / "stereo.wav", 8000, 1200)
    assert audio.shape == (1200,) and not np.any(audio[1000:])
    # Away from its ends the resampled tone is the tone; the resampler's passband is flat to 1e-3.
    np.testing.assert_allclose(audio[100:900], tone[::2][100:900], atol=2e-3)
    with pytest.raises(UserError, match=r"lasts 0\.12 s; this model's clips last 0\.10 s"):
        wav.read_recording(tmp_path / "stereo.wav", 8000, 800)
    with pytest.raises(UserError, match="cannot be read as audio"):
        wav.read_recording(tmp_path / "absent.wav", 8000, 800)


def test_records_that_are_no_plain_json(tmp_path):
    for comment in ("[" * 10_000, "1" * 10_000, "[1, 2]", "{"):
        with soundfile.SoundFile(tmp_path / "odd.wav", "w", 8000, 1) as file:
            file.comment = comment
            file.write(np.zeros(10))
        assert wav.read_record(tmp_path / "odd.wav") == {}


def test_a_file_is_whole_when_it_is_as_long_as_its_header_says(tmp_path):
    wav.write(tmp_path / "a.wav", np.arange(500, dtype=np.int16), 8000, {"index": 3})
    whole = (tmp_path / "a.wav").read_bytes()
    assert wav.is_whole(tmp_path / "a.wav")
    for length in (len(whole) - 1, len(whole) // 2, 5, 0):
        (tmp_path / "a.wav").write_bytes(whole[:length])
        assert not wav.is_whole(tmp_path / "a.wav")


def test_a_recording_is_read_as_everywhere_else(tmp_path, caplog):
    soundfile.write(tmp_path / "x.wav", np.full(1000, 16384.0), 8000, subtype="FLOAT")
    content = (tmp_path / "x.wav").read_bytes()
    (tmp_path / "x.wav").write_bytes(content[:-2000])
    audio = wav.read_recording(tmp_path / "x.wav", 8000, 600)
    np.testing.assert_array_equal(audio, [0.5] * 500 + [0] * 100)
    assert "x.wav ends after 2000 of 4000 bytes of audio" in caplog.text and "divided by 32768" in caplog.text


def test_what_is_no_recording_is_refused_before_any_work(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    soundfile.write(tmp_path / "rate.wav", np.zeros(10_000), 1)
    soundfile.write(tmp_path / "nan.wav", np.full(10, np.nan), 8000, subtype="FLOAT")
    for name, reason in {"fifo": "no regular file", "rate": "sample rate of 1 Hz", "nan": "not finite"}.items():
        with pytest.raises(UserError, match=rf"{name}\.wav cannot be read as audio \(.*{reason}"):
            wav.read_recording(tmp_path / f"{name}.wav", 8000, 800)
