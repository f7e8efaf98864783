import functools
import logging
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from diffwave_jax.data import open_dataset, speech_commands
from diffwave_jax.download import sha256
from diffwave_jax.errors import UserError
from diffwave_jax.recording import read
from tests.helpers.audio_files import pack, shared_data, tone, write_layout, write_wav

LISTED = {"validation": ["two/s1_nohash_0.wav", "absent/s9_nohash_0.wav"], "testing": ["nine/s0_nohash_0.wav"]}


@pytest.fixture
def layout(tmp_path):
    return write_layout(tmp_path / "clips", {"two": 3, "nine": 2, "bed": 4}, **LISTED)


@pytest.mark.parametrize("form", ["folder", "tar", "tar with ./", "zip"])
def test_digits_by_split_label_and_speaker(layout, config, tmp_path, form):
    forms = {
        "folder": lambda: layout,
        "tar": lambda: pack(layout, tmp_path / "x.tar.gz", ""),
        "tar with ./": lambda: pack(layout, tmp_path / "x.tar.gz", "./"),
        "zip": lambda: Path(shutil.make_archive(str(tmp_path / "x"), "zip", layout)),
    }
    archive = forms[form]()
    found = {}
    for split in ("train", "validation", "test"):
        dataset = open_dataset(config | {"archive": str(archive)}, split)
        clips = [dataset.clip(index) for index in range(len(dataset))]
        found[split] = {(clip["name"], clip["label"], clip["speaker"]) for clip in clips}
    assert found == {
        "train": {
            ("two/s0_nohash_0.wav", 2, "s0"),
            ("two/s2_nohash_0.wav", 2, "s2"),
            ("nine/s1_nohash_0.wav", 9, "s1"),
        },
        "validation": {("two/s1_nohash_0.wav", 2, "s1")},
        "test": {("nine/s0_nohash_0.wav", 9, "s0")},
    }


def test_samples_are_the_file_s_own(layout, config):
    dataset = open_dataset(config | {"archive": str(layout), "length": 200})
    for index in range(len(dataset)):
        name = dataset.clip(index)["name"]
        expected = read(layout / name).samples
        audio = dataset[index]["audio"]
        kept = min(200, len(expected))
        assert (audio[:kept] == expected[:kept]).all(), name
        assert not audio[kept:].any(), name


def test_other_words_can_be_asked_for(layout, config):
    dataset = open_dataset(config | {"archive": str(layout), "classes": ("bed", "two")})
    assert dataset.classes == ("bed", "two")
    assert sorted(dataset.read(range(len(dataset)))["label"]) == [0, 0, 0, 0, 1, 1]


def test_a_folder_without_a_digit_is_an_error(tmp_path, config):
    archive = write_layout(tmp_path / "clips", {"bed": 2})
    with pytest.raises(UserError, match=r"data\.archive: .*clips has no clip of zero, one, .*; it must hold a folder"):
        open_dataset(config | {"archive": str(archive)})


def test_another_sample_rate_names_both_and_the_field(tmp_path, config):
    archive = write_layout(tmp_path / "clips", {"zero": 2}, rate=8000)
    wanted = (
        r"zero/s0_nohash_0\.wav is sampled at 8000 Hz but data\.sample_rate is 16000 Hz; set data\.sample_rate to 8000"
    )
    with pytest.raises(UserError, match=wanted):
        open_dataset(config | {"archive": str(archive)})


@pytest.mark.parametrize(("expected", "warned"), [(31158, True), (2, False)])
def test_v002_that_is_not_whole_is_warned_of(layout, config, monkeypatch, caplog, expected, warned):
    monkeypatch.setattr(speech_commands, "V002_LIST_LENGTHS", {"validation": 2, "test": 1})
    monkeypatch.setattr(speech_commands, "SC09_TRAIN_CLIPS", 3 if expected == 2 else expected)
    with caplog.at_level(logging.WARNING):
        open_dataset(config | {"archive": str(layout)})
    assert ("3 training clips found, but SC09 on Speech Commands v0.02 has 31158" in caplog.text) == warned


def test_other_archives_are_not_held_to_v002_s_size(layout, config, caplog):
    with caplog.at_level(logging.WARNING):
        open_dataset(config | {"archive": str(layout)})
    assert "SC09" not in caplog.text


def test_v002_s_numbers():
    assert speech_commands.SC09_TRAIN_CLIPS == 31158


def test_upper_case_suffixes_count(tmp_path, config):
    write_wav(tmp_path / "clips" / "six" / "A_nohash_1.WAV", tone(0.01))
    assert len(open_dataset(config | {"archive": str(tmp_path / "clips")})) == 1


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.requests.append(self.path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A local server of a small archive, which stands in the place of the official one."""
    folder = tmp_path / "served"
    folder.mkdir()
    archive = pack(write_layout(tmp_path / "clips", {"zero": 2, "bed": 1}), folder / "speech.tar.gz")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    server.requests = []
    monkeypatch.setattr(speech_commands, "URL", f"http://127.0.0.1:{server.server_port}/speech.tar.gz")
    monkeypatch.setattr(speech_commands, "SIZE", archive.stat().st_size)
    monkeypatch.setattr(speech_commands, "SHA256", sha256(archive))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_downloads_once_and_prepares(server, config):
    seen = []
    assert len(open_dataset(config, on_download=lambda *now: seen.append(now))) == 2
    assert seen[-1] == (speech_commands.SIZE, speech_commands.SIZE)
    assert len(open_dataset(config | {"length": 200})) == 2
    assert server.requests == ["/speech.tar.gz"]


def test_a_wrong_checksum_is_refused_and_removed(server, config, monkeypatch):
    monkeypatch.setattr(speech_commands, "SHA256", "0" * 64)
    with pytest.raises(
        UserError, match=r"speech\.tar\.gz gave another file than the published one .*, now removed; try"
    ):
        open_dataset(config)
    left = {path.name for path in Path(config["data_dir"]).rglob("*") if path.is_file()}
    assert left == {"lock"}


def test_an_absent_file_is_one_clear_line(server, config, monkeypatch):
    monkeypatch.setattr(speech_commands, "URL", speech_commands.URL.replace("speech", "absent"))
    with pytest.raises(UserError, match=r"absent\.tar\.gz cannot be had \(HTTP 404.*\); fetch it another way"):
        open_dataset(config)


def test_the_published_file_is_the_one_tfds_knows():
    path = Path(tfds.__file__).parent / "datasets" / "speech_commands" / "checksums.tsv"
    known = tfds.download.checksums.load_url_infos(path)[speech_commands.URL]
    assert (known.size, known.checksum) == (speech_commands.SIZE, speech_commands.SHA256)


def test_the_data_set_is_registered_with_tfds(tmp_path):
    sc09 = tfds.builder("sc09", data_dir=str(tmp_path), file_format="array_record")
    assert sc09.info.features["audio"].shape == (16000,)


@pytest.mark.skipif(shared_data() is None, reason="the real archives are not beside the project")
def test_real_speech_commands(config):
    config = config | {"archive": str(shared_data() / "speech_commands_mini.tar.gz"), "length": 16000}
    sizes = {split: len(open_dataset(config, split)) for split in ("train", "validation", "test")}
    # 100 digit clips in the archive, held out by the official lists
    assert sizes == {"train": 62, "validation": 16, "test": 22}


@pytest.mark.skipif(shared_data() is None, reason="the real archives are not beside the project")
def test_real_digits_at_8_khz(config):
    config = config | {"archive": str(shared_data() / "fsdd.tar.gz"), "length": 5120, "sample_rate": 8000}
    dataset = open_dataset(config)
    assert (len(dataset), dataset.num_classes) == (2400, 10)
    assert {dataset.clip(index)["speaker"] for index in range(0, 2400, 20)} == set(
        ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    )
