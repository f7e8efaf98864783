import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from diffwave_jax.errors import UserError
from diffwave_jax.evaluation.clips import label_of, read_folder


def write(path, samples, rate):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), samples, rate)  # bytes: the name may not be UTF-8


def test_reads_any_rate_and_length_in_order(tmp_path, recogniser):
    tone = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    write(tmp_path / "00001_digit4.wav", 0.5 * tone, 16000)
    write(tmp_path / "00000_digit7.wav", 0.25 * tone[:500], 8000)
    write(tmp_path / "00002_digit0.wav", np.stack([tone, -tone], axis=1), 44100)  # a mono mix of silence
    seen = []
    clips = read_folder(tmp_path, recogniser, lambda done, total: seen.append((done, total)))
    assert clips.audio.shape == (3, recogniser.length) and clips.audio.dtype == np.float32
    np.testing.assert_array_equal(clips.labels, [7, 4, 0])
    assert seen == [(1, 3), (2, 3), (3, 3)]
    # 0.01: PCM16 and the resampler's ripple.
    np.testing.assert_allclose(np.abs(clips.audio).max(axis=1), [0.25, 0.5, 0], atol=0.01)
    np.testing.assert_array_equal(clips.audio[0, 500:], 0)


def test_other_files_are_left_alone(tmp_path, recogniser):
    write(tmp_path / "a.wav", np.ones(100), 8000)
    (tmp_path / "gallery.html").write_text("")
    assert read_folder(tmp_path, recogniser).audio.shape[0] == 1


def test_labels_are_all_known_or_none(tmp_path, recogniser):
    write(tmp_path / "00000_digit1.wav", np.ones(100), 8000)
    write(tmp_path / "b.wav", np.ones(100), 8000)
    clips = read_folder(tmp_path, recogniser)
    assert clips.labels is None
    assert clips.remarks == (
        "1 of 2 clips, b.wav the first, do not say which of the classifier's 10 classes they were asked to be: "
        "no accuracy is given",
    )


@pytest.mark.parametrize(
    ("name", "label"), [("00003_digit7.wav", 7), ("two/a_nohash_0.wav", 2), ("x.wav", None), ("x_digit10.wav", None)]
)
def test_label_of(name, label, recogniser):
    assert label_of(Path(name), recogniser.classes) == label


def test_no_folder(tmp_path, recogniser):
    with pytest.raises(UserError, match="no folder"):
        read_folder(tmp_path / "nowhere", recogniser)


def test_no_audio(tmp_path, recogniser):
    with pytest.raises(UserError, match="no audio in"):
        read_folder(tmp_path, recogniser)


@pytest.mark.parametrize("content", [b"", b"RIFF no audio"])
def test_damaged_file_is_named(tmp_path, recogniser, content):
    write(tmp_path / "a.wav", np.ones(100), 8000)
    (tmp_path / "b.wav").write_bytes(content)
    with pytest.raises(UserError, match=r"b\.wav cannot be read"):
        read_folder(tmp_path, recogniser)


def test_odd_folders(tmp_path, recogniser, caplog):
    for name in ("a.wav", "._a.wav", ".Trash/b.wav", "caf\udce9.wav"):
        write(tmp_path / name, np.full(100, 0.5), 8000)
    (tmp_path / "again").symlink_to(".")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:144])
    audio = read_folder(tmp_path, recogniser).audio
    np.testing.assert_array_equal(audio[:, :101], [[0.5] * 100 + [0], [0.5] * 100 + [0], [0.5] * 50 + [0] * 51])
    assert "1 links lead to" in caplog.text and "cut.wav ends after 100 of 200 bytes of audio" in caplog.text


def test_what_is_no_audio_is_refused_before_any_work(tmp_path, recogniser):
    write(tmp_path / "a.wav", np.zeros(10_000), 1)  # at 8 kHz these would be 80 million samples
    with pytest.raises(UserError, match=r"a\.wav cannot be read as audio \(claims a sample rate of 1 Hz"):
        read_folder(tmp_path, recogniser)
    (tmp_path / "a.wav").unlink()
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"a\.wav cannot be read \(is no regular file\): remove it"):
        read_folder(tmp_path, recogniser)
    (tmp_path / "a.wav").unlink()
    (tmp_path / "a.wav").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"a\.wav cannot be read \(a link that leads nowhere"):
        read_folder(tmp_path, recogniser)
