"""Folders of results: named clips, a stopped run that goes on, other settings refused."""

import os
import resource
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from diffwave_jax.errors import UserError
from diffwave_jax.generation.settings import Settings
from diffwave_jax.results import wav
from diffwave_jax.results.collection import OutputOptions, generate_into, save_into
from diffwave_jax.results.folder import clips_in, out_of_range, remove_clips
from tests.helpers.tiny import tiny_generator

SETTINGS = Settings(sampler="dpm++", steps=2, digit=(7, 2))
PLAIN = Settings(sampler="dpm++", steps=2)


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(n_classes=10)


def test_names_records_picture_and_page(tmp_path, generator):
    calls = []
    report = generate_into(
        tmp_path / "out", generator, 3, SETTINGS, batch_size=2, on_progress=lambda *call: calls.append(call)
    )
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["00000_digit7.wav", "00001_digit2.wav", "00002_digit7.wav", "grid.png", "index.html"]
    record = wav.read_record(tmp_path / "out" / "00001_digit2.wav")
    wanted = {"index": 1, "digit": 2, "seed": 0, "sampler": "dpm++", "steps": 2, "guidance": 1.0, "normalized": False}
    assert record.items() >= wanted.items()
    assert record["model"] == f"diffwave {generator.fingerprint}"
    assert (report.clips, report.made) == (3, 3)
    assert report.gallery == tmp_path / "out" / "index.html"
    assert calls[-1] == (3, 3) and calls[0] == (3 / 4, 3)
    with Image.open(tmp_path / "out" / "grid.png") as picture:
        assert picture.width > 400


def test_a_stopped_run_goes_on_with_the_missing_clips(tmp_path, generator):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    generate_into(whole, generator, 5, SETTINGS)
    generate_into(stopped, generator, 3, SETTINGS)
    (stopped / "00001_digit2.wav").unlink()
    untouched = (stopped / "00002_digit7.wav").stat().st_mtime_ns
    report = generate_into(stopped, generator, 5, SETTINGS, batch_size=2)
    assert (report.clips, report.made) == (5, 3)
    assert (stopped / "00002_digit7.wav").stat().st_mtime_ns == untouched
    for index, path in clips_in(whole).items():
        # One step of PCM16: another batch size may change the last bits of a float32.
        difference = wav.read(clips_in(stopped)[index]).audio - wav.read(path).audio
        assert np.max(np.abs(difference)) <= 1 / 32768


def test_nothing_is_made_twice(tmp_path, generator):
    generate_into(tmp_path, generator, 2, SETTINGS)
    calls = []
    report = generate_into(tmp_path, generator, 2, SETTINGS, on_progress=lambda *call: calls.append(call))
    assert (report.clips, report.made) == (2, 0) and calls == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (replace(SETTINGS, seed=1), "with seed 0 where seed 1 is asked for"),
        (replace(SETTINGS, steps=3), "with steps 2 where steps 3 is asked for"),
        (PLAIN, "with digit 7 where digit None is asked for"),
        (replace(SETTINGS, guided_steps=(5, 9)), "no guided_steps on record where guided_steps"),
    ],
)
def test_clips_of_other_settings_are_refused(tmp_path, generator, settings, message):
    generate_into(tmp_path, generator, 1, SETTINGS)
    with pytest.raises(UserError, match=message):
        generate_into(tmp_path, generator, 2, settings)
    assert len(clips_in(tmp_path)) == 1


def test_what_is_not_asked_for_is_compared_too(tmp_path, generator):
    generate_into(tmp_path, generator, 1, replace(PLAIN, sampler="ddpm", noise_scale=0.5))
    assert wav.read_record(tmp_path / "00000.wav")["noise_scale"] == 0.5
    with pytest.raises(UserError, match=r"with noise_scale 0.5 where no noise_scale is asked for"):
        generate_into(tmp_path, generator, 2, replace(PLAIN, sampler="ddpm"))


def test_clips_are_made_only_where_they_may_lie(tmp_path, generator):
    made = []

    def make():
        made.append(len(made))
        return np.zeros((2, 256), np.float32)

    def save(denoised, **options):
        return save_into(tmp_path, generator, 2, PLAIN, make, OutputOptions(**options), {"denoised": denoised}).made

    assert save(denoised="a.wav") == 2 and save(denoised="a.wav") == 0 and len(made) == 1
    with pytest.raises(UserError, match=r"with denoised a.wav where denoised b.wav is asked for"):
        save(denoised="b.wav")
    assert len(made) == 1
    assert save(denoised="b.wav", overwrite=True) == 2
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file cannot be written"):
        save_into(tmp_path / "file", generator, 2, PLAIN, make)
    assert len(made) == 2


def test_a_strangers_file_is_refused_and_can_be_removed(tmp_path, generator):
    wav.write(tmp_path / "00000.wav", np.zeros(10, np.int16), 8000, {})
    with pytest.raises(UserError, match="no index on record where index 0 is asked for"):
        generate_into(tmp_path, generator, 1, PLAIN)
    (tmp_path / "notes.wav").write_text("left alone")
    remove_clips(tmp_path)
    assert generate_into(tmp_path, generator, 1, PLAIN).made == 1
    assert (tmp_path / "notes.wav").exists()


def test_a_mistake_makes_no_folder(tmp_path, generator):
    with pytest.raises(UserError, match="digit is 11"):
        generate_into(tmp_path / "out", generator, 2, replace(PLAIN, digit=(11,)))
    with pytest.raises(UserError, match="n is 0"):
        generate_into(tmp_path / "out", generator, 0, PLAIN)
    assert not (tmp_path / "out").exists()


def test_out_of_range_samples_are_reported(tmp_path, generator):
    audio = np.zeros((2, 256), np.float32)
    audio[1, :3] = 2.0
    report = save_into(tmp_path / "a", generator, 2, PLAIN, lambda: audio, origin={"denoised": "voice.wav"})
    assert (report.clipped_clips, report.clipped_samples) == (1, 3)
    record = wav.read_record(tmp_path / "a" / "00001.wav")
    assert record["out_of_range"] == 3 and record["denoised"] == "voice.wav"
    report = save_into(tmp_path / "b", generator, 2, PLAIN, lambda: audio, OutputOptions(normalize=True))
    assert (report.clipped_clips, report.clipped_samples) == (0, 0)


def test_a_clip_that_was_cut_is_made_again(tmp_path, generator):
    generate_into(tmp_path, generator, 3, SETTINGS)
    path = tmp_path / "00001_digit2.wav"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 256])  # half of its 256 samples
    assert generate_into(tmp_path, generator, 3, SETTINGS).made == 1
    assert wav.read(path).audio.shape == (256,)
    path.write_bytes(whole[: len(whole) - 256])
    with pytest.raises(UserError, match="with seed 0 where seed 1 is asked for"):  # it may be another's
        generate_into(tmp_path, generator, 3, replace(SETTINGS, seed=1))


def test_clips_that_are_removed_meanwhile_are_not_counted(tmp_path, generator):
    def remove(done, total):
        (tmp_path / "00000_digit7.wav").unlink(missing_ok=True)

    generate_into(tmp_path, generator, 5, SETTINGS)
    (tmp_path / "00002_digit7.wav").unlink()
    report = generate_into(tmp_path, generator, 3, SETTINGS, on_progress=remove)
    assert (report.clips, report.made) == (2, 1)
    only = replace(SETTINGS, digit=(7,))
    report = generate_into(tmp_path / "none", generator, 1, only, on_progress=lambda *_: None)
    assert (report.clips, report.made) == (1, 1)


def test_no_clip_left_at_the_end(tmp_path, generator, monkeypatch):
    monkeypatch.setattr("diffwave_jax.results.folder.wav.write", lambda *_: None)
    report = generate_into(tmp_path, generator, 2, SETTINGS)
    assert (report.clips, report.made, list(tmp_path.iterdir())) == (0, 0, [])


def test_a_pipe_or_a_folder_in_a_clips_or_the_pictures_place(tmp_path, generator):
    os.mkfifo(tmp_path / "00000.wav")
    with pytest.raises(UserError, match=r"00000\.wav is a folder or a device, not a file"):
        generate_into(tmp_path, generator, 1, PLAIN)
    for name in ("grid.png", "index.html"):
        (tmp_path / name / name).mkdir(parents=True)
        with pytest.raises(UserError, match=f"{name} is a folder or a device"):
            generate_into(tmp_path / name, generator, 1, PLAIN)
        assert clips_in(tmp_path / name) == {}


def test_what_a_killed_run_left_is_removed(tmp_path, generator):
    (tmp_path / ".00000_digit7.wav.abcdefgh.partial").write_bytes(b"RIFF")
    generate_into(tmp_path, generator, 1, SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000_digit7.wav", "grid.png", "index.html"]


def test_a_record_of_odd_text_is_one_line(tmp_path, generator):
    record = {"index": 0, "digit": "x\nerror: all is lost \x1b[31m" + 500 * "y"}
    wav.write(tmp_path / "00000.wav", np.zeros(10, np.int16), 8000, record)
    with pytest.raises(UserError) as caught:
        generate_into(tmp_path, generator, 1, PLAIN)
    said = str(caught.value)
    assert r"with digit x\nerror: all is lost \x1b[31m" in said and said.isprintable() and len(said) < 400


@pytest.mark.parametrize("count", ["many", None, [1], 3])
def test_a_count_on_record_that_is_none(count):
    assert out_of_range({"out_of_range": count}) == (3 if count == 3 else 0)


@pytest.mark.parametrize(("most", "written"), [(300, []), (3000, ["00000.wav", "00001.wav", "00002.wav"])])
def test_a_full_disk_is_one_line_and_what_is_there_is_whole(generator, tmp_path, most, written):
    """The system's own refusal to write more bytes a file than so many: at the first clip, and at the pictures."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(UserError, match=r"^[^\n]* cannot be written \(File too large; [^\n]* free\)[^\n]*$"):
            generate_into(tmp_path, generator, 3, PLAIN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == written
    assert generate_into(tmp_path, generator, 3, PLAIN).made == 3 - len(written)
