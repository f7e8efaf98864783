import contextlib
import os
import resource
import struct

import chex
import numpy as np
import pytest
import soundfile

from diffwave_jax import recording
from diffwave_jax.recording import CorruptClipError, read
from tests.helpers.audio_files import RATE, tone, write_wav


def test_reads_pcm16_exactly(tmp_path):
    samples = np.array([-32768, -1, 0, 1, 32767], np.int16)
    found = read(write_wav(tmp_path / "x.wav", samples))
    assert (found.sample_rate, found.remarks) == (RATE, ())
    chex.assert_trees_all_equal(found.samples, (samples / 32768).astype(np.float32))


@pytest.mark.parametrize(("name", "subtype"), [("x.wav", "PCM_16"), ("x.flac", "PCM_16"), ("x.aiff", "PCM_16")])
def test_integers_become_the_floats_of_libsndfile(tmp_path, name, subtype):
    path = write_wav(tmp_path / name, np.stack([tone(), -0.9 * tone()], axis=1), subtype=subtype)
    expected, _ = soundfile.read(path, dtype="float32")
    chex.assert_trees_all_equal(read(path).samples, expected.mean(axis=1))


def test_mixes_down_to_mono(tmp_path):
    stereo = np.stack([tone(), -0.5 * tone()], axis=1)
    found = read(write_wav(tmp_path / "x.wav", stereo, subtype="FLOAT"))
    # float32 storage of values below 0.5: half a unit in the last place is 3e-8
    chex.assert_trees_all_close(found.samples, (0.25 * tone()).astype(np.float32), atol=6e-8)


def test_blocks_join_without_a_seam(tmp_path, monkeypatch):
    path = write_wav(tmp_path / "x.wav", np.stack([tone(1.0), tone(1.0, frequency=200)], axis=1))
    whole = read(path).samples
    monkeypatch.setattr(recording, "BLOCK", 1000)
    chex.assert_trees_all_equal(read(path).samples, whole)


def test_reads_only_the_seconds_asked_for(tmp_path):
    assert len(read(write_wav(tmp_path / "x.wav", tone(1.0)), seconds=0.1).samples) == RATE // 10


def test_no_more_than_the_limit_is_read_and_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "MOST_FRAMES", RATE)
    found = read(write_wav(tmp_path / "x.wav", tone(2.0)))
    assert (found.seconds, found.remarks) == (1.0, ("only its first 1 seconds are read",))


@pytest.mark.parametrize(
    ("claimed", "remark"),
    [
        *((2000 + more, f"ends after 2000 of {2000 + more} bytes of audio") for more in (1, 2, 8, 44, 2000)),
        *((unknown, None) for unknown in (0, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
    ],
)
def test_what_a_header_claims_beyond_what_is_there_is_told(tmp_path, claimed, remark):
    samples = (np.arange(1000) % 100 * 10).astype(np.int16)
    path = write_wav(tmp_path / "x.wav", samples)
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", claimed)
    path.write_bytes(content)
    found = read(path)
    chex.assert_trees_all_equal(found.samples, (samples / 32768).astype(np.float32))
    assert found.remarks == ((remark,) if remark else ())


def test_of_a_file_cut_in_half_the_half_is_read_and_that_is_told(tmp_path):
    path = write_wav(tmp_path / "x.wav", tone(1.0))
    whole = read(path).samples
    path.write_bytes(path.read_bytes()[:16044])
    found = read(path)
    chex.assert_trees_all_equal(found.samples, whole[:8000])
    assert found.remarks == ("ends after 16000 of 32000 bytes of audio",)


def test_damage_is_told_apart(tmp_path):
    path = write_wav(tmp_path / "x.wav", tone(1.0))
    flac = tmp_path / "x.flac"
    soundfile.write(flac, tone(1.0), RATE)
    for damaged, reason in {
        b"": "is empty",
        b"noise" * 100: "no decoder knows its format",
        path.read_bytes()[:44]: "holds no samples",
        flac.read_bytes()[:3000] + bytes(3000): "lost sync|[Ff]lac|error",
    }.items():
        path.write_bytes(damaged)
        with pytest.raises(CorruptClipError, match=reason):
            read(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_damage(tmp_path, bad):
    path = write_wav(tmp_path / "x.wav", np.array([0.0, bad, 0.0]), subtype="FLOAT")
    with pytest.raises(CorruptClipError, match="not finite"):
        read(path)


@pytest.mark.parametrize(("bits", "subtype"), [(16, "FLOAT"), (24, "FLOAT"), (32, "FLOAT"), (16, "DOUBLE")])
def test_float_samples_in_the_range_of_integers_are_scaled_and_that_is_told(tmp_path, bits, subtype):
    wave = tone(1.0) * np.linspace(0, 2, RATE)  # its beginning alone would not tell the range
    path = write_wav(tmp_path / "x.wav", np.round(wave * 2 ** (bits - 1)), subtype=subtype)
    for seconds in (None, 0.1):
        found = read(path, seconds)
        # half a step of the integers, and of float32
        assert np.abs(found.samples - wave[: len(found.samples)]).max() <= 2**-bits + 6e-8
        assert "range of integers" in found.remarks[0] and f"divided by {2 ** (bits - 1)}" in found.remarks[0]


@pytest.mark.parametrize("peak", [0.5, 1.0, 1.5, 20.0])
def test_float_samples_not_clearly_in_that_range_are_left_alone(tmp_path, peak):
    wave = (2 * peak * tone(0.1)).astype(np.float32)
    found = read(write_wav(tmp_path / "x.wav", wave, subtype="FLOAT"))
    chex.assert_trees_all_equal(found.samples, wave)
    assert found.remarks == ()


@pytest.mark.parametrize("rate", [1, 999, 2_000_000])
def test_a_rate_that_no_audio_has_is_refused_before_any_work(tmp_path, rate):
    path = write_wav(tmp_path / "x.wav", tone(0.5), rate)
    with pytest.raises(CorruptClipError, match=f"claims a sample rate of {rate} Hz; audio has 1000 to 1000000"):
        read(path)


def test_a_header_s_length_is_no_reason_to_allocate_memory(tmp_path):
    path = tmp_path / "x.flac"
    soundfile.write(path, tone(0.5), RATE)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO's number of samples, 36 bits: 64 billion more
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(CorruptClipError):  # or the decoder finds that out itself
        assert len(read(path).samples) == RATE // 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # kB


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    for path, reason in (
        (tmp_path / "x.wav", "no regular file"),
        (tmp_path, "no regular file"),
        (tmp_path / "y", "No such"),
    ):
        with pytest.raises(CorruptClipError, match=reason):
            read(path)


def test_a_name_need_not_be_utf_8(tmp_path):
    path = write_wav(tmp_path / "x.wav", tone())
    odd = tmp_path / "caf\udce9.wav"
    path.rename(odd)
    assert len(read(odd).samples) == len(tone())
