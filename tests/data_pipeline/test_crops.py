"""Random parts of whole recordings, with their mel spectrograms."""

import numpy as np
import pytest
import soundfile

from diffwave_jax.config import default_config, model_section
from diffwave_jax.data import make_loader, open_dataset
from diffwave_jax.data.audio import to_float
from diffwave_jax.data.crops import Crops
from diffwave_jax.errors import UserError
from diffwave_jax.mel import MelFrontEnd

FRONT_END = MelFrontEnd("tacotron", sample_rate=8000, n_mels=8, n_fft=64, hop=16, window=64, fmax=4000.0)
SECONDS = (0.05, 0.2, 0.3)  # 400, 1600 and 2400 samples


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    for number, seconds in enumerate(SECONDS):
        soundfile.write(folder / f"r{number}.wav", 0.3 * random.standard_normal(int(8000 * seconds)), 8000)
    return folder


@pytest.fixture(scope="module")
def section(recordings, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("prepared")
    return {
        "source": "folder",
        "archive": str(recordings),
        "data_dir": str(data_dir),
        "sample_rate": 8000,
        "length": 800,
        "whole": True,
    }


@pytest.fixture(scope="module")
def dataset(section):
    return open_dataset(section)


def test_recordings_are_kept_whole(dataset):
    found = {name: len(samples) for samples, name in dataset.recordings(range(3))}
    assert found == {"r0.wav": 400, "r1.wav": 1600, "r2.wav": 2400}


def test_another_length_needs_no_other_preparation(section, dataset):
    assert open_dataset(section | {"length": 160})._folder == dataset._folder
    assert open_dataset(section | {"whole": False})._folder != dataset._folder


def samples_of(dataset, index):
    samples, _ = dataset.recordings([index])[0]
    return to_float(np.pad(samples, (0, max(0, 800 - len(samples)))))


@pytest.mark.parametrize("of_recording", [False, True])
def test_a_part_and_its_mel(dataset, of_recording):
    crops = Crops(dataset, FRONT_END, 800, of_recording)
    starts = set()
    for index in range(3):
        whole = samples_of(dataset, index)
        batch = crops.read([index] * 8, [(1, place) for place in range(8)])
        for part, mel in zip(batch["audio"], batch["mel"], strict=True):
            start = next(n for n in range(len(whole)) if np.array_equal(whole[n : n + 800], part))
            starts.add((index, start))
            expected = FRONT_END(part) if not of_recording else FRONT_END(whole)[:, start // 16 : start // 16 + 50]
            assert start % 16 == 0 or not of_recording
            # Framed at another place in memory; float64 rounding of values that are then float32.
            np.testing.assert_allclose(mel.T, expected, atol=2e-6)
    assert len(starts) > 10 and batch["mel"].shape == (8, 50 if of_recording else 51, 8)


def test_the_stream_repeats_itself_and_each_epoch_has_other_parts(dataset):
    crops = Crops(dataset, FRONT_END, 800)
    first, second = (make_loader(dataset, batch_size=3, seed=5, crops=crops) for _ in range(2))
    epochs = [next(first) for _ in range(2)]
    np.testing.assert_array_equal(next(second)["mel"], epochs[0]["mel"])
    sums = [sorted(batch["audio"].sum(axis=1).tolist()) for batch in epochs]
    assert sums[0] != sums[1]


def test_mels_of_another_system(dataset, tmp_path):
    names = [name for _, name in dataset.recordings(range(3))]
    mels = {}
    for index, name in enumerate(names):
        mels[name] = FRONT_END(samples_of(dataset, index))[:, : 1 + len(dataset.recordings([index])[0][0]) // 16] - 0.01
        np.save(tmp_path / name.replace(".wav", ".npy"), np.maximum(mels[name], FRONT_END.range[0]))
    crops, longest = Crops(dataset, FRONT_END, 800, mels=tmp_path), names.index("r2.wav")
    batch = crops.read([longest], [(0, 1)])
    whole = samples_of(dataset, longest)
    start = next(n for n in range(len(whole)) if np.array_equal(whole[n : n + 800], batch["audio"][0]))
    expected = np.load(tmp_path / "r2.npy")[:, start // 16 : start // 16 + 50]
    np.testing.assert_array_equal(batch["mel"][0].T, expected)
    short = crops.read([names.index("r0.wav")], [(0, 1)])["mel"][0].T  # silence follows
    np.testing.assert_array_equal(short[:, :26], np.load(tmp_path / "r0.npy"))
    assert short.shape == (8, 50) and np.all(short[:, 26:] == np.float32(FRONT_END.range[0]))
    np.save(tmp_path / "r2.npy", mels["r2.wav"][:, :-9])
    with pytest.raises(UserError, match=r"has 142 frames, but r2.wav lasts 151 of 16 samples"):
        crops.read([longest], [(0, 1)])
    (tmp_path / "r2.npy").unlink()
    with pytest.raises(UserError, match=r"the mel of r2\.wav, cannot be read"):
        crops.read([longest], [(0, 1)])


def test_what_does_not_go_together(dataset):
    with pytest.raises(UserError, match=r"data\.length is 801; parts cut at mel frames have a multiple of 16"):
        Crops(dataset, FRONT_END, 801, of_recording=True)
    config = default_config()
    config.model = model_section("diffwave", n_mels=80)
    config.mel.kind, config.data.sample_rate, config.data.shift = "tacotron", 22050, 5
    with pytest.raises(UserError, match="would change audio after its mel"):
        Crops.from_config(config, dataset)
