"""`sample.py` from its command line to its files."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import diffwave_jax
from diffwave_jax import checkpoint, cli
from diffwave_jax.commands import sample
from diffwave_jax.config import to_dict
from diffwave_jax.errors import UserError
from diffwave_jax.results import wav
from tests.helpers.tiny import tiny_generator

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    generator = tiny_generator(n_classes=10)
    generator.config.sample.sampler, generator.config.sample.steps = "dpm++", 3
    generator.config.sample.guidance = 2.0
    params = {name: np.asarray(value) for name, value in generator._params.items()}
    checkpoint.save(folder, 3, params=params, config=to_dict(generator.config))
    return folder


def run(*arguments) -> None:
    sample.main(sample.parse([str(argument) for argument in arguments]))


def wavs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.wav"))


def test_first_light(run_folder, tmp_path, capsys):
    run("--n", 3, "--checkpoint", run_folder, "--out", tmp_path, "--seed", 0, "--steps", 200, "--sampler", "ddpm")
    assert wavs(tmp_path) == ["00000.wav", "00001.wav", "00002.wav"]
    clip = wav.read(tmp_path / "00001.wav")
    assert clip.sample_rate == 8000 and clip.audio.shape == (256,)
    assert clip.record.items() >= {"steps": 200, "sampler": "ddpm", "seed": 0, "guidance": 1.0}.items()
    said = capsys.readouterr()
    assert f"3 clips in {tmp_path} (3 new); to listen, open {tmp_path / 'index.html'}" in said.out
    assert "3.0/3 clips" in said.err and "left" in said.err


def test_levels_and_a_last_pass(run_folder, tmp_path):
    run("--n", 1, "--checkpoint", run_folder, "--out", tmp_path, "--levels", "199,90,20", "--polish", 60)
    assert wav.read_record(tmp_path / "00000.wav").items() >= {"levels": [199, 90, 20], "polish": 60}.items()


def test_digits_and_the_models_usual_settings(run_folder, tmp_path):
    run("--n", 12, "--checkpoint", run_folder, "--out", tmp_path, "--digit", "0-9", "--batch-size", 5)
    assert wavs(tmp_path) == [f"{index:05d}_digit{index % 10}.wav" for index in range(12)]
    record = wav.read_record(tmp_path / "00007_digit7.wav")
    assert record.items() >= {"sampler": "dpm++", "steps": 3, "guidance": 2.0, "digit": 7}.items()


def test_out_of_range_samples_are_told_and_normalizing_helps(run_folder, tmp_path, capsys):
    loud = ["--n", 2, "--checkpoint", run_folder, "--digit", "3", "--guidance", 40, "--steps", 2]
    run(*loud, "--out", tmp_path / "loud")
    assert "cut off at full scale: " in capsys.readouterr().out
    run(*loud, "--out", tmp_path / "scaled", "--normalize")
    assert "cut off" not in capsys.readouterr().out
    assert np.max(np.abs(wav.read(tmp_path / "scaled" / "00000_digit3.wav").audio)) == pytest.approx(0.95, abs=1e-4)


def test_interpolation(run_folder, tmp_path):
    run(
        "--interpolate",
        3,
        8,
        "--n",
        4,
        "--checkpoint",
        run_folder,
        "--out",
        tmp_path,
        "--sampler",
        "ddim",
        "--steps",
        5,
    )
    assert wavs(tmp_path) == ["00000.wav", "00001.wav", "00002.wav", "00003.wav"]
    assert wav.read_record(tmp_path / "00002.wav")["interpolated_seeds"] == "3 to 8"


def test_denoising(run_folder, tmp_path):
    soundfile.write(tmp_path / "noisy.wav", 0.1 * np.random.default_rng(0).standard_normal(200), 8000)
    run("--denoise", tmp_path / "noisy.wav", "--step", 6, "--checkpoint", run_folder, "--out", tmp_path / "out")
    record = wav.read_record(tmp_path / "out" / "00000.wav")
    assert record.items() >= {"denoised": "noisy.wav", "from_step": 6, "steps": 7}.items()


def test_overwriting(run_folder, tmp_path):
    same = ["--n", 1, "--checkpoint", run_folder, "--out", tmp_path]
    run(*same)
    with pytest.raises(UserError, match="choose another output folder, or overwrite"):
        run(*same, "--seed", 1)
    run(*same, "--seed", 1, "--overwrite")
    assert wav.read_record(tmp_path / "00000.wav")["seed"] == 1
    with pytest.raises(UserError, match="steps is 500"):
        run(*same, "--steps", 500, "--overwrite")
    (tmp_path / "noise.txt").write_text("no audio")
    for mistake in (["--interpolate", 1, 2, "--n", 1], ["--interpolate", 1, -2, "--n", 2]):
        with pytest.raises(UserError):
            run(*same[2:], *mistake, "--overwrite")
    with pytest.raises(UserError, match="cannot be read as audio"):
        run(*same[2:], "--denoise", tmp_path / "noise.txt", "--overwrite")
    assert wavs(tmp_path) == ["00000.wav"]  # a mistake removes nothing


def test_all_clips_of_an_interpolation_ask_for_the_same(run_folder, tmp_path):
    more = ["--digit", "7,2", "--steps", 4, "--step", 100]
    run("--checkpoint", run_folder, "--out", tmp_path, "--interpolate", 3, 8, "--n", 3, *more)
    assert wavs(tmp_path) == [f"0000{i}_digit7.wav" for i in range(3)]
    record = wav.read_record(tmp_path / "00002_digit7.wav")
    assert record.items() >= {"digit": 7, "interpolated_seeds": "3 to 8", "mixed_at_step": 100}.items()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", ("7",)),
        ("0-9", tuple(range(10))),
        ("1,three,5-7", ("1", "three", 5, 6, 7)),
        ("george,lucas", ("george", "lucas")),
        ("none", ()),
    ],
)
def test_notation_of_several(text, expected):
    assert sample.several(text) == expected


def test_names_on_the_command_line(run_folder, tmp_path):
    run("--n", 2, "--checkpoint", run_folder, "--out", tmp_path, "--digit", "seven,2", "--batch_size", 1)
    assert wavs(tmp_path) == ["00000_digit7.wav", "00001_digit2.wav"]
    with pytest.raises(UserError, match=r"digit is 'sevn'; this model has the classes zero, .*, by number 0 to 9"):
        run("--n", 2, "--checkpoint", run_folder, "--out", tmp_path / "no", "--digit", "sevn")
    with pytest.raises(UserError, match=r"speaker is 'theo'; this model has no speakers to choose from"):
        run("--n", 2, "--checkpoint", run_folder, "--out", tmp_path / "no", "--digit", "7", "--speaker", "theo")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("asked", [{}, {"digit": "seven"}, {"sampler": "ddim"}, {"eta": 0.5, "sampler": "ddim"}])
def test_python_and_the_command_line_make_the_same_clips(run_folder, tmp_path, asked):
    flags = [word for name, value in asked.items() for word in (f"--{name}", value)]
    run("--n", 5, "--checkpoint", run_folder, "--out", tmp_path, "--seed", 3, *flags)
    clips = diffwave_jax.load(run_folder).generate(5, seed=3, **asked)
    for path, clip in zip(sorted(tmp_path.glob("*.wav")), clips, strict=True):
        samples, _ = wav.to_pcm(clip)
        np.testing.assert_array_equal(soundfile.read(path, dtype="int16")[0], samples)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--digit", "sevn"], "digit is 'sevn'; this model has the classes zero"),
        (["--digit", "7", "--speaker", "bob"], "speaker is 'bob'; this model has the speakers george"),
        (["--digit", "9-0"], "'9-0' counts down; write 0-9"),
        (["--n", "0"], "'0' is not a whole number from 1 on"),
        (["--step", "5"], "the number of steps is --steps"),
        (["--interpolate", "1", "2", "--batch-size", "5"], "leave it out"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--checkpoint", "nowhere"], "no checkpoint folder at"),
        (["--sampler", "euler"], "invalid choice: 'euler'"),
        (["--levels", "199;90"], "'199;90' is not a row of diffusion steps such as 199,130,85,42"),
        (["--levels", "90,199"], "levels is 90,199; give the noisiest first"),
        (["--levels", "199,90", "--steps", "3"], "steps is 3, but 2 levels are given"),
        (["--polish", "900"], "polish is 900; it must be between 0 and 199"),
        (["--interpolate", "1", "2", "--denoise", "a.wav"], "not allowed with argument"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.guard(sample.main, sample.parse([*arguments, "--out", str(tmp_path / "out")]))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and message in said
    assert said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


HOST = """
import sys, jax
from diffwave_jax.commands import sample
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
sample.main(sample.parse(sys.argv[3:]))
"""


def test_two_hosts_share_the_clips(run_folder, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    arguments = ["--n", "5", "--checkpoint", str(run_folder), "--steps", "2", "--overwrite"]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, address, str(host), *arguments, "--out", str(tmp_path / "two")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for host in range(2)
    ]
    said = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], said
    assert "(3 new)" in said[0][0] and "(2 new)" in said[1][0]
    run(*arguments, "--out", tmp_path / "one")
    for name in wavs(tmp_path / "one"):
        difference = wav.read(tmp_path / "two" / name).audio - wav.read(tmp_path / "one" / name).audio
        assert np.max(np.abs(difference)) <= 1 / 32768  # one step of PCM16
    assert (tmp_path / "two" / "index.html").exists()
