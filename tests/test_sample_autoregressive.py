"""`sample.py` with an autoregressive model, from its command line to its files."""

import numpy as np
import pytest
import soundfile

import diffwave_jax
from diffwave_jax import checkpoint, cli
from diffwave_jax.commands import sample
from diffwave_jax.config import to_dict
from diffwave_jax.results import wav
from tests.helpers.autoregressive import golden_generator
from tests.helpers.tiny import tiny_generator

RATE = 16000


def save(folder, model, **changed) -> str:
    params = {name: np.asarray(value) for name, value in model._params.items()} | changed
    checkpoint.save(folder, 3, params=params, config=to_dict(model.config))
    return str(folder)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("run"), golden_generator("ar_s4v3_unet_tiny"))


@pytest.fixture(scope="module")
def diffusion_folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("diffusion"), tiny_generator())


def load(folder) -> diffwave_jax.AutoregressiveGenerator:
    model = diffwave_jax.load(folder)
    assert isinstance(model, diffwave_jax.AutoregressiveGenerator)
    return model


def run(*arguments) -> None:
    sample.main(sample.parse([str(argument) for argument in arguments]))


def refused(capsys, *arguments) -> str:
    """The one line that a mistake ends in."""
    with pytest.raises(SystemExit) as ended:
        cli.guard(sample.main, sample.parse([str(argument) for argument in arguments]))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1, said
    return said


def test_clips_with_their_records_and_progress(run_folder, tmp_path, capsys):
    run("--checkpoint", run_folder, "--n", 3, "--out", tmp_path, "--seconds", 0.004, "--seed", 5, "--top_p", 0.9)
    said = capsys.readouterr()
    assert f"3 clips in {tmp_path} (3 new); to listen, open {tmp_path / 'index.html'}" in said.out
    assert "3.0/3 clips" in said.err
    expected = load(run_folder).generate(3, seed=5, length=64, top_p=0.9)
    for index, clip in enumerate(expected):
        found = wav.read(tmp_path / f"{index:05d}.wav")
        np.testing.assert_array_equal(np.rint(found.audio * 32768), wav.to_pcm(clip)[0])
    record = wav.read_record(tmp_path / "00001.wav")
    assert record.items() >= {"seed": 5, "samples": 64, "temperature": 1.0, "top_p": 0.9, "index": 1}.items()
    assert "steps" not in record and "prime" not in record
    assert (tmp_path / "grid.png").exists()


def test_the_same_command_makes_what_is_missing(run_folder, tmp_path, capsys):
    command = ["--checkpoint", run_folder, "--n", 3, "--out", tmp_path, "--seconds", 0.004, "--batch-size", 2]
    run(*command)
    before = (tmp_path / "00001.wav").read_bytes()
    (tmp_path / "00001.wav").unlink()
    run(*command)
    assert "(1 new)" in capsys.readouterr().out
    assert (tmp_path / "00001.wav").read_bytes() == before
    assert "choose another output folder, or overwrite" in refused(capsys, *command, "--temperature", 0.5)


def test_a_recording_goes_on(run_folder, tmp_path):
    prime = (0.5 * np.sin(np.arange(48) / 3)).astype(np.float32)
    soundfile.write(tmp_path / "start.wav", prime, RATE, subtype="FLOAT")
    run("--checkpoint", run_folder, "--n", 2, "--out", tmp_path, "--seconds", 0.004, "--prime", tmp_path / "start.wav")
    model = load(run_folder)
    expected = model.generate(2, length=64, prime=prime)
    np.testing.assert_array_equal(expected[:, :48], np.repeat(model.code.decode(model.encode(prime[None])), 2, axis=0))
    for index, clip in enumerate(expected):
        found = wav.read(tmp_path / f"{index:05d}.wav")
        np.testing.assert_array_equal(np.rint(found.audio * 32768), wav.to_pcm(clip)[0])
        assert found.record["prime"].startswith("start.wav ") and found.record["primed_samples"] == 48


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "5"], "--steps is not for an autoregressive model, which this is: leave it out"),
        (["--digit", "7"], "--digit is not for an autoregressive model"),
        (["--noise-scale", "0.9"], "--noise-scale is not for an autoregressive model"),
        (["--denoise", "a.wav"], "--denoise is not for an autoregressive model"),
        (["--interpolate", "1", "2"], "--interpolate is not for an autoregressive model"),
        (["--temperature", "0"], "temperature is 0.0; it must be above 0"),
        (["--temperature", "-1"], "temperature is -1.0; it must be above 0"),
        (["--temperature", "nan"], "temperature is nan; it must be above 0"),
        (["--top-p", "0"], "top_p is 0.0; it must be above 0 and at most 1"),
        (["--top-p", "1.1"], "top_p is 1.1; it must be above 0 and at most 1"),
        (["--seconds", "0"], "'0' is not a number of seconds above 0"),
        (["--seconds", "inf"], "'inf' is not a number of seconds above 0"),
        (["--seconds", "1e305"], "'1e305' seconds are more than a clip may last, 3600"),
        (["--seconds", "1e-6"], "length is 0; ask for at least 1 sample"),
        (["--prime", "nowhere.wav"], "nowhere.wav cannot be read as audio"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(run_folder, arguments, message, tmp_path, capsys):
    out = tmp_path / "out"
    assert message in refused(capsys, "--checkpoint", run_folder, "--out", out, *arguments)
    assert not out.exists()


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.ones(40), 8000, "start.wav has 8000 samples a second; this model takes 16000: resample it"),
        (np.arange(64) / 64, RATE, "start.wav lasts 0.00 s, and the clips are to last 0.00 s with it: cut it"),
        (np.arange(17 * RATE * 5) % 7 / 9, RATE, "start.wav lasts over a minute, and the clips are to last 0.00 s"),
        (np.zeros(40), RATE, "the prime is silent"),
        (np.full(40, np.nan), RATE, "start.wav cannot be read as audio (holds samples that are not finite)"),
    ],
    ids=["rate", "as long as a clip", "over a minute", "silent", "nan"],
)
def test_primes_that_cannot_be_taken(run_folder, audio, rate, message, tmp_path, capsys):
    path, out = tmp_path / "start.wav", tmp_path / "out"
    soundfile.write(path, audio, rate, subtype="FLOAT")
    arguments = ["--checkpoint", run_folder, "--out", out, "--seconds", 0.004, "--prime", path]
    assert message in refused(capsys, *arguments)
    assert not out.exists()


@pytest.mark.parametrize("flag", ["--seconds", "--temperature", "--top-p", "--prime"])
def test_flags_of_autoregressive_models_are_refused_by_others(diffusion_folder, flag, tmp_path, capsys):
    said = refused(capsys, "--checkpoint", diffusion_folder, "--out", tmp_path / "out", flag, 1)
    assert f"{flag} is not for a diffusion model, which this is: leave it out" in said
    assert not (tmp_path / "out").exists()


def test_weights_that_give_no_numbers(tmp_path, capsys):
    nothing = {"head.bias": np.full(256, np.nan, np.float32)}
    folder = save(tmp_path / "run", golden_generator("ar_s4v3_unet_tiny"), **nothing)
    said = refused(capsys, "--checkpoint", folder, "--out", tmp_path / "out", "--seconds", 0.004)
    assert "the model gives no numbers after 0 samples" in said
