import numpy as np
import pytest
import soundfile

from diffwave_jax.data import folder, open_dataset
from diffwave_jax.errors import UserError
from tests.helpers.audio_files import RATE, pack, tone, write_layout, write_wav


def open_folder(config, archive, split="train", **fields):
    return open_dataset(config | {"source": "folder", "archive": str(archive)} | fields, split)


def test_formats_rates_and_channels_come_out_alike(tmp_path, config):
    length = RATE // 2
    for index, (name, rate) in enumerate({"a.wav": 44100, "b.flac": 48000, "c.ogg": 22050, "d.mp3": 44100}.items()):
        samples = np.repeat(tone(1.0, rate)[:, None], 1 + index % 2, axis=1)
        soundfile.write(tmp_path / name, samples, rate)
    dataset = open_folder(config, tmp_path, length=length)
    assert len(dataset) == 4
    for index in range(4):
        clip, name = dataset[index]["audio"], dataset.clip(index)["name"]
        middle = clip[1000:-1000]
        spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
        peak = np.argmax(spectrum) * RATE / len(middle)
        # one bin of the spectrum; the lossy codecs keep the level within 2 %
        assert peak == pytest.approx(440, abs=RATE / len(middle)), name
        assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02), name


def test_resampling_is_the_same_wave(tmp_path, config):
    write_wav(tmp_path / "a.wav", tone(1.0, 48000), 48000, "FLOAT")
    clip = open_folder(config, tmp_path, length=RATE)[0]["audio"]
    # away from the ends: int16 storage (1.5e-5) and the resampler's pass band ripple
    assert np.abs(clip[1000:-1000] - tone(1.0)[1000:-1000]).max() < 1e-4


def test_folders_are_classes(tmp_path, config):
    for name in ("dogs/1.wav", "dogs/deep/dogs/2.wav", "cats/1.wav"):
        write_wav(tmp_path / "top" / name, tone())
    dataset = open_folder(config, tmp_path / "top")
    assert dataset.classes == ("cats", "dogs")
    labels = {dataset.clip(index)["name"]: dataset[index]["label"] for index in range(3)}
    assert labels == {"cats/1.wav": 0, "dogs/1.wav": 1, "dogs/deep/dogs/2.wav": 1}


@pytest.mark.parametrize("names", [("1.wav", "2.wav"), ("wavs/1.wav", "wavs/2.wav"), ("a/1.wav", "b/1.wav", "1.wav")])
def test_otherwise_there_are_no_classes(tmp_path, config, names):
    for name in names:
        write_wav(tmp_path / "top" / name, tone())
    dataset = open_folder(config, tmp_path / "top")
    assert (dataset.num_classes, dataset.classes) == (0, ())
    assert dataset.read(range(len(names)))["label"].tolist() == [0] * len(names)


def test_the_digits_keep_their_order_and_the_lists_count(tmp_path, config):
    root = write_layout(tmp_path / "clips", {"two": 2, "one": 1}, validation=["two/s1_nohash_0.wav"], rate=8000)
    fields = {"classes": ("one", "two")}
    assert open_folder(config, root, **fields).classes == ("one", "two")
    assert open_folder(config, root, "validation", **fields).clip(0)["name"] == "two/s1_nohash_0.wav"


def test_a_tar_will_do(tmp_path, config):
    write_wav(tmp_path / "top" / "x" / "1.wav", tone())
    assert len(open_folder(config, pack(tmp_path / "top", tmp_path / "x.tar.gz"))) == 1


def test_held_out_clips_are_no_training_clips(tmp_path, config):
    for index in range(40):
        write_wav(tmp_path / "top" / f"{index}.wav", tone(0.001 * (1 + index)))
    names = []
    for split in ("train", "validation", "test"):
        dataset = open_folder(config, tmp_path / "top", split)
        names += [dataset.clip(index)["name"] for index in range(len(dataset))]
    assert sorted(names) == sorted(f"{index}.wav" for index in range(40))


def test_a_folder_without_audio_is_an_error(tmp_path, config):
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "readme.txt").write_text("nothing here")
    with pytest.raises(UserError, match=r"data\.archive: no audio file below .*top; give a folder that holds some"):
        open_folder(config, tmp_path / "top")


def test_a_missing_split_is_named(tmp_path, config):
    write_wav(tmp_path / "top" / "1.wav", tone())
    with pytest.raises(UserError, match="no clip is in the 'test' split; there are train"):
        open_folder(config, tmp_path / "top", "test")


def test_what_no_decoder_knows_is_left_out(tmp_path, config):
    write_wav(tmp_path / "top" / "good.wav", tone())
    (tmp_path / "top" / "bad.mp3").write_bytes(b"noise" * 1000)
    assert list(open_folder(config, tmp_path / "top").skipped) == ["bad.mp3"]


def found(dataset):
    """The class of each clip by its file's name."""
    return {dataset.clip(index)["name"]: dataset[index]["label"] for index in range(len(dataset))}


@pytest.mark.parametrize("name", ["[1]", "a*b?", "{x}", "back\\slash", "x[1:3]", "caf\udce9"])
def test_a_folder_of_any_name_works(tmp_path, config, name):
    write_wav(tmp_path / name / "1.wav", tone())
    data_dir = str(tmp_path / "prepared" / name) if name.isprintable() else config["data_dir"]
    for _ in range(2):
        assert found(open_folder(config | {"data_dir": data_dir}, tmp_path / name)) == {"1.wav": 0}


def test_names_that_are_not_utf_8_survive(tmp_path, config):
    for name in ("caf\udce9/\udcff.wav", "tea/1.wav", "back\\1.wav", "back/1.wav"):
        write_wav(tmp_path / "a.wav", tone())
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "a.wav").rename(tmp_path / "top" / name)
    (tmp_path / "top" / "back\\1.wav").rename(tmp_path / "top" / "tea" / "back\\1.wav")
    for _ in range(2):
        dataset = open_folder(config, tmp_path / "top")
        assert dataset.classes == ("back", "caf\udce9", "tea")
        assert found(dataset) == {"caf\udce9/\udcff.wav": 1, "tea/1.wav": 2, "tea/back\\1.wav": 2, "back/1.wav": 0}


def test_names_of_classes_are_kept_exactly(tmp_path, config):
    classes = (" ", "a\nb", "cat ", "\x1b[2J", "dog")
    for name in classes:
        write_wav(tmp_path / "top" / name / "1.wav", tone())
    for _ in range(2):
        assert open_folder(config, tmp_path / "top").classes == tuple(sorted(classes))


def test_what_is_wrong_with_files_is_told_each_time(tmp_path, config, caplog):
    root = tmp_path / "top"
    write_wav(root / "good.wav", tone())
    write_wav(root / "integers.wav", 32768 * tone(), subtype="FLOAT")
    write_wav(root / "loud.wav", 3 * tone(), subtype="FLOAT")
    write_wav(root / "rate.wav", tone(), 1)
    whole = write_wav(root / "cut.wav", tone())
    whole.write_bytes(whole.read_bytes()[:-8])
    (root / "again").symlink_to(".")
    (root / "nothing.wav").symlink_to("nowhere")
    for _ in range(2):
        caplog.clear()
        dataset = open_folder(config, root, length=800)
        clips = {dataset.clip(index)["name"]: dataset[index]["audio"] for index in range(len(dataset))}
        assert sorted(clips) == ["cut.wav", "good.wav", "integers.wav", "loud.wav"]
        # one step of int16, to which libsndfile rounds down and we to the nearest
        np.testing.assert_allclose(clips["integers.wav"], clips["good.wav"], rtol=0, atol=2**-15)
        np.testing.assert_array_equal(clips["cut.wav"], [*clips["good.wav"][:-4], 0, 0, 0, 0])
        clipped = np.abs(3 * tone()) > 1
        share = f"{clipped.sum() / (4 * 800):.2%}"
        assert clips["loud.wav"].max() == 1 - 2**-15
        for line in (
            "1 links lead to files or folders that are there already",
            "2 of 6 clips cannot be read and are left out: nothing.wav (a link that leads nowhere: No such file",
            "rate.wav (claims a sample rate of 1 Hz; audio has 1000 to 1000000)",
            "3 of 6 clips are not as they should be: cut.wav (ends after 1592 of 1600 bytes of audio); integers.wav",
            f"loud.wav ({clipped.sum()} samples lie beyond full scale and are clipped)",
            f"{share} of all samples lay beyond full scale and are clipped",
        ):
            assert line in caplog.text


def test_a_file_that_vanishes_meanwhile_is_left_out(tmp_path, config, monkeypatch):
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / "top" / name, tone())
    split = folder.split_by_name

    def vanish(clips):
        (tmp_path / "top" / "b.wav").unlink()
        return split(clips)

    monkeypatch.setattr(folder, "split_by_name", vanish)
    assert open_folder(config, tmp_path / "top").skipped == {"b.wav": "No such file or directory"}
