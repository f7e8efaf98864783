import json
import logging
import os
import re
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import chex
import numpy as np
import pytest

from diffwave_jax.data import open_dataset
from diffwave_jax.errors import UserError
from tests.helpers.audio_files import pack, write_layout, write_wav


@pytest.fixture
def layout(tmp_path):
    return write_layout(tmp_path / "clips", {"zero": 3, "one": 3})


@pytest.fixture
def config(config, layout):
    return config | {"archive": str(layout)}


def prepared(config):
    """The folders of finished preparations."""
    return sorted(path.parent for path in Path(config["data_dir"]).rglob("dataset_info.json"))


def test_a_clip_is_float_audio_with_a_label(ten_clips):
    assert (len(ten_clips), ten_clips.num_classes, ten_clips.sample_rate, ten_clips.length) == (10, 10, 16000, 400)
    clip = ten_clips[3]
    chex.assert_shape(clip["audio"], (400,))
    assert (clip["audio"].dtype, clip["label"].dtype) == (np.float32, np.int32)


def test_reading_together_is_reading_one_by_one(ten_clips):
    indices = [7, 0, 7, 9]
    together = ten_clips.read(indices)
    singly = [ten_clips[index] for index in indices]
    chex.assert_trees_all_equal(together["audio"], np.stack([clip["audio"] for clip in singly]))
    chex.assert_trees_all_equal(together["label"], np.array([clip["label"] for clip in singly]))


def test_reading_nothing_gives_nothing(ten_clips):
    chex.assert_shape(ten_clips.read([])["audio"], (0, 400))


def test_the_same_wishes_share_a_preparation(config):
    calls = []
    for _ in range(2):
        open_dataset(config, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 6) for done in range(1, 7)]
    assert len(prepared(config)) == 1


@pytest.mark.parametrize(
    "change",
    [{"length": 300}, {"trim_db": 20.0}, {"rms": 0.1}, {"fade": 5}, {"classes": ("one", "zero")}, {"source": "folder"}],
)
def test_other_wishes_do_not(config, change):
    open_dataset(config)
    open_dataset(config | change)
    assert len(prepared(config)) == 2


def test_a_changed_archive_is_prepared_anew(config, layout):
    assert len(open_dataset(config)) == 6
    (layout / "zero" / "s0_nohash_0.wav").unlink()
    assert len(open_dataset(config)) == 5


def test_preparing_twice_gives_the_same_records(config, tmp_path):
    first = open_dataset(config)
    second = open_dataset(config | {"data_dir": str(tmp_path / "again")})
    chex.assert_trees_all_equal(first.read(range(6)), second.read(range(6)))


def test_an_interrupted_preparation_leaves_nothing_behind(config):
    def interrupt(done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_dataset(config, progress=interrupt)
    assert not prepared(config)
    left = {path.name for path in Path(config["data_dir"]).rglob("*") if path.is_file()}
    assert left == {"lock"}
    assert len(open_dataset(config)) == 6


def test_what_a_killed_preparation_left_is_cleared(config):
    open_dataset(config)
    (finished,) = prepared(config)
    finished.rename(finished.parent / "incomplete.ABCDEF_1.0.0")
    (finished.parents[1] / "unpacked-x").mkdir()
    assert len(open_dataset(config)) == 6
    assert sorted(path.name for path in finished.parents[1].iterdir()) == ["lock", "sc09"]
    assert [path.name for path in finished.parent.iterdir()] == ["1.0.0"]


def test_several_at_once_prepare_once(config):
    calls = []
    with ThreadPoolExecutor(4) as pool:
        opened = [pool.submit(open_dataset, config, progress=lambda *step: calls.append(step)) for _ in range(4)]
        assert [len(future.result()) for future in opened] == [6] * 4
    assert len(calls) == 6


def test_corrupt_clips_are_reported_and_left_out_every_time(config, layout, caplog):
    (layout / "zero" / "s1_nohash_0.wav").write_bytes(b"no audio")
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            dataset = open_dataset(config)
        assert len(dataset) == 5
        assert list(dataset.skipped) == ["zero/s1_nohash_0.wav"]
        assert "1 of 6 clips cannot be read and are left out: zero/s1_nohash_0.wav (" in caplog.text


def test_many_corrupt_clips_are_counted(config, layout, caplog):
    for index in range(8):
        (layout / "zero" / f"bad{index}_nohash_0.wav").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        dataset = open_dataset(config)
    assert len(dataset.skipped) == 8
    assert "8 of 14 clips cannot be read" in caplog.text and "and 3 more" in caplog.text


def test_only_corrupt_clips_are_an_error(config, layout):
    for path in layout.glob("*/*.wav"):
        path.write_bytes(b"no audio")
    with pytest.raises(UserError, match=r"not one of 6 clips can be read as audio; one/s0_nohash_0\.wav: "):
        open_dataset(config)
    assert not prepared(config)


def test_a_cache_that_cannot_be_written_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/.* cannot be written \(Not a directory; .* MB free\): make room"):
        open_dataset(config | {"data_dir": str(tmp_path / "file")})


def spoil(finished, what):
    """Damages a finished preparation."""
    records = next(finished.glob("*train.array_record*"))
    if what == "cut records":
        records.write_bytes(records.read_bytes()[: records.stat().st_size // 2])
    elif what == "empty records":
        records.write_bytes(b"")
    elif what == "no records":
        records.unlink()
    else:
        (finished / what).write_text("{")


@pytest.mark.parametrize(
    "what",
    ["cut records", "empty records", "no records", "clips.json", "dataset_info.json"],
)
def test_damaged_prepared_data_is_named_and_prepared_anew(config, caplog, what):
    expected = open_dataset(config).read(range(6))
    (finished,) = prepared(config)
    spoil(finished, what)
    with caplog.at_level(logging.WARNING):
        chex.assert_trees_all_equal(open_dataset(config).read(range(6)), expected)
    assert f"data.data_dir: {finished.parents[1]} is damaged (" in caplog.text and "prepared anew" in caplog.text
    caplog.clear()
    open_dataset(config)
    assert not caplog.text


def test_flipped_bytes_of_records_never_pass_for_data(config):
    expected = open_dataset(config).read(range(6))
    records = next(prepared(config)[0].glob("*train.array_record*"))
    content = records.read_bytes()
    refused = 0
    for place in range(70, 2000, 90):
        records.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = open_dataset(config).read(range(6))
        except UserError as error:
            wanted = r"the prepared clips in .* are damaged \(.*\): remove this folder, and they are prepared anew"
            assert re.fullmatch(wanted, str(error))
            refused += 1
        else:
            chex.assert_trees_all_equal(found, expected)
    assert refused > 2


def test_opening_prepared_data_writes_nothing(config, monkeypatch):
    expected = open_dataset(config).read(range(6))

    def tree():
        return {path: path.stat().st_mtime_ns for path in Path(config["data_dir"]).rglob("*")}

    next(Path(config["data_dir"]).glob("*/lock")).unlink()
    before = tree()
    monkeypatch.setattr("builtins.open", read_only(open))
    chex.assert_trees_all_equal(open_dataset(config).read(range(6)), expected)
    assert tree() == before


def read_only(opener):
    def open_(file, mode="r", *args, **kwargs):
        if set(mode) & set("wax+"):
            raise OSError(30, "Read-only file system", file)
        return opener(file, mode, *args, **kwargs)

    return open_


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_full_disk_is_one_clear_line(config, layout, tmp_path, form):
    for index in range(4):
        write_wav(layout / "zero" / f"x{index}_nohash_0.wav", np.random.default_rng(index).uniform(-1, 1, 16000))
    archive = layout if form == "folder" else pack(layout, tmp_path / "x.tar")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # fails as a full disk does, with other words
    try:
        with pytest.raises(UserError, match=r"cannot be written \(.*File too large; .* MB free\)") as caught:
            open_dataset(config | {"archive": str(archive), "length": 16000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value).isprintable() and config["data_dir"] in str(caught.value)
    assert {path.name for path in Path(config["data_dir"]).rglob("*") if path.is_file()} == {"lock"}


def test_the_fingerprint_is_the_content_s(config, layout, tmp_path):
    folder = open_dataset(config).fingerprint
    packed = open_dataset(config | {"archive": str(pack(layout, tmp_path / "x.tar.gz"))}).fingerprint
    assert folder == packed
    write_wav(layout / "zero" / "s0_nohash_0.wav", np.zeros(10))
    assert open_dataset(config).fingerprint != folder


def test_nothing_is_printed(config, capfd):
    open_dataset(config)
    assert capfd.readouterr() == ("", "")


def test_tensorflow_is_never_imported(config):
    script = f"""
import sys
from diffwave_jax.data import make_loader, open_dataset
loader = make_loader(open_dataset({json.dumps(config)}), batch_size=4, seed=0)
print(next(loader)["audio"].shape, "tensorflow" in sys.modules)
"""
    root = Path(__file__).parents[2]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=root)
    assert done.stdout.strip() == "(4, 400) False", done.stderr


def test_labels_tell_speakers_apart_where_they_are_named(config):
    speakers = ("s1", "s0", "s2")
    plain, told = open_dataset(config), open_dataset(config | {"speakers": speakers})
    for index, label in enumerate(told.read(range(len(told)))["label"]):
        clip = plain.clip(index)
        assert label == clip["label"] + plain.num_classes * speakers.index(clip["speaker"])
    assert len(prepared(config)) == 1
    with pytest.raises(UserError, match="spoken by 's1', who is not one of s0, s2"):
        open_dataset(config | {"speakers": ("s0", "s2")}).read(range(6))
