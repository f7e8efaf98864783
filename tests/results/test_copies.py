"""`sample.py --vocode`, from its command line to its files."""

import os

import numpy as np
import pytest
import soundfile

from diffwave_jax import checkpoint
from diffwave_jax.commands import sample
from diffwave_jax.config import to_dict
from diffwave_jax.errors import UserError
from diffwave_jax.generation.generator import Generator
from diffwave_jax.results import wav
from tests.helpers.golden_vectors import golden_vocoder


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocoder")
    model = golden_vocoder("vocoder_lmnt_tiny")
    params = {name: np.asarray(value) for name, value in model._params.items()}
    checkpoint.save(folder, 3, params=params, config=to_dict(model.config))
    return folder


def run(vocoder, *arguments):
    words = ["--checkpoint", vocoder, "--sampler", "ddim", "--steps", 1, *arguments]
    sample.main(sample.parse([str(word) for word in words]))


def voice(path, rate=8000, seconds=0.1):
    time = np.arange(int(seconds * rate)) / rate
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 300 * time), rate)


def test_recordings_and_mels_of_a_folder(vocoder, tmp_path, capsys):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "a").mkdir(parents=True)
    voice(source / "a" / "x.wav")
    voice(source / "x.flac", 22050)
    np.save(source / "y.npy", np.random.default_rng(0).uniform(0, 1, (80, 9)))
    run(vocoder, "--vocode", source, "--out", out, "--match", 2)
    names = ["00000_x.wav", "00000_x_original.wav", "00001_x.wav", "00001_x_original.wav", "00002_y.wav"]
    assert sorted(path.name for path in out.glob("*.wav")) == names
    assert "3 clips in" in (said := capsys.readouterr()).out and "3.0/3 clips" in said.err
    copy, original = (wav.read(out / name) for name in names[:2])
    assert copy.sample_rate == 22050 and copy.audio.shape == original.audio.shape == (2205,)
    assert copy.record.items() >= {"source": "a/x.wav", "sampler": "ddim", "steps": 1, "match": 2}.items()
    assert wav.read(out / names[4]).audio.shape == (9 * 256,)
    page = (out / "index.html").read_text()
    assert page.index("a/x.wav, the copy") < page.index("a/x.wav, the recording") < page.index("y.npy, the copy")
    run(vocoder, "--vocode", source, "--out", out, "--match", 2)
    assert "(0 new)" in capsys.readouterr().out
    with pytest.raises(UserError, match="with seed 0 where seed 1 is asked for"):
        run(vocoder, "--vocode", source, "--out", out, "--match", 2, "--seed", 1)


def test_a_digit_is_not_for_a_vocoder(vocoder, tmp_path):
    voice(tmp_path / "x.wav")
    with pytest.raises(UserError, match="unconditional: it cannot be asked for a digit"):
        run(vocoder, "--vocode", tmp_path / "x.wav", "--out", tmp_path / "out", "--digit", 3)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("mel", "match"),
    [
        (np.zeros((40, 9)), r"y.npy: this vocoder takes mels \(80, frames\)"),
        (np.full((80, 9), -3.0), r"y.npy: the mel's values lie between -3 and -3"),
        (np.zeros((2, 80, 9)), "holds 2 mels"),
    ],
)
def test_wrong_mels(vocoder, tmp_path, mel, match):
    np.save(tmp_path / "y.npy", mel)
    with pytest.raises(UserError, match=match):
        run(vocoder, "--vocode", tmp_path / "y.npy", "--out", tmp_path / "out")


def test_wrong_files(vocoder, tmp_path, monkeypatch):
    monkeypatch.setattr(Generator, "vocode", lambda *_, **__: pytest.fail("no file is good"))
    (tmp_path / "bad.npy").write_bytes(b"none")
    (tmp_path / "zip.npy").write_bytes(b"PK\3\4 but no archive")
    np.save(tmp_path / "claims.npy", np.zeros((80, 9)))
    claims = (tmp_path / "claims.npy").read_bytes()
    (tmp_path / "claims.npy").write_bytes(claims.replace(b"(80, 9), }" + b" " * 15, b"(80, 9" + b"0" * 15 + b"), }"))
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    for name, match in [
        *((name, "cannot be read as a NumPy array") for name in ("bad.npy", "zip.npy", "claims.npy", "pipe.npy")),
        ("no.wav", "cannot be read as audio"),
        ("link", "gone.wav cannot be read .a link that leads nowhere"),
        ("empty", "holds neither recordings nor .npy"),
    ]:
        with pytest.raises(UserError, match=match):
            run(vocoder, "--vocode", tmp_path / name, "--out", tmp_path / "out")


def test_a_model_that_is_no_vocoder(tmp_path):
    voice(tmp_path / "x.wav")
    words = ["--vocode", tmp_path / "x.wav", "--pretrained", "digits", "--out", tmp_path / "out"]
    with pytest.raises(UserError, match="this model is no vocoder"):
        sample.main(sample.parse([str(word) for word in words]))
