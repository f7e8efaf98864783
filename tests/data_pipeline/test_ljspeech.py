import numpy as np
import pytest
import soundfile

from diffwave_jax.data import open_dataset
from diffwave_jax.errors import UserError


def test_books_are_held_out(tmp_path):
    folder = tmp_path / "LJSpeech-1.1" / "wavs"
    folder.mkdir(parents=True)
    for name in ("LJ001-0001", "LJ002-0001", "LJ003-0001", "LJ050-0278"):
        soundfile.write(folder / f"{name}.wav", np.full(3000, 0.1), 22050)
    (tmp_path / "LJSpeech-1.1" / "metadata.csv").write_text("LJ001-0001|x|x")
    section = {
        "source": "ljspeech",
        "archive": str(tmp_path / "LJSpeech-1.1"),
        "data_dir": str(tmp_path / "prepared"),
        "sample_rate": 22050,
        "whole": True,
    }
    found = {
        split: [name for _, name in data.recordings(range(len(data)))]
        for split in ("train", "validation", "test")
        for data in [open_dataset(section, split)]
    }
    assert {split: sorted(names) for split, names in found.items()} == {
        "train": ["wavs/LJ003-0001.wav", "wavs/LJ050-0278.wav"],
        "validation": ["wavs/LJ002-0001.wav"],
        "test": ["wavs/LJ001-0001.wav"],
    }


def test_a_folder_without_any(tmp_path):
    soundfile.write(tmp_path / "other.wav", np.full(3000, 0.1), 22050)
    section = {"source": "ljspeech", "archive": str(tmp_path), "data_dir": str(tmp_path / "prepared")}
    with pytest.raises(UserError, match=r"holds no utterance of LJ Speech, such as LJ001-0001\.wav"):
        open_dataset(section)
