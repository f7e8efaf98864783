"""What train.py says to mistakes: one line, exit status 2, and nothing left behind."""

import re
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import soundfile

from tests.helpers.forked import ROOT, run_script

pytestmark = pytest.mark.usefixtures("programs_kept")

TINY = [
    "--config.model.d_model=2",
    "--config.model.n_layers=(0,0,0)",
    "--config.train.num_steps=2",
    "--config.train.batch_size=2",
    "--config.train.warmup_steps=1",
]


def train(workdir, *arguments, config="configs/small.py"):
    return run_script(ROOT / "train.py", "--config", config, "--workdir", str(workdir), *arguments)


@pytest.fixture
def clips(tmp_path):
    """A folder in Speech Commands layout: three clips of one second each of two digits."""

    def make(words=("one", "two"), sample_rate=16000):
        folder = tmp_path / "clips"
        for word in words:
            (folder / word).mkdir(parents=True)
            for number in range(3):
                noise = 0.1 * np.random.default_rng(number).standard_normal(sample_rate)
                soundfile.write(folder / word / f"{number}_nohash_0.wav", noise, sample_rate, subtype="PCM_16")
        for name in ("validation", "testing"):
            (folder / f"{name}_list.txt").write_text("")
        return [f"--config.data.archive={folder}", f"--config.data.data_dir={tmp_path / 'prepared'}"]

    return make


@pytest.mark.parametrize(
    ("arguments", "config", "said"),
    [
        (["--config.train.stepz=3"], "configs/small.py", "unknown config field 'train.stepz'"),
        (["--config.train.num_steps=many"], "configs/small.py", "num_steps=many"),
        (["--stepz=3"], "configs/small.py", "Unknown command line flag 'stepz'"),
        ([], "configs/no_such.py", "configs/no_such.py"),
        (["--config.data.archive=/no/such/folder"], "configs/small.py", "nothing found at /no/such/folder"),
        (["--config.data.length=8000"], "configs/small.py", "model.length is 16000 but data.length is 8000"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, arguments, config, said):
    _refused(train(tmp_path / "run", *arguments, config=config), said, tmp_path / "run")


def test_folder_without_digits(tmp_path, clips):
    _refused(train(tmp_path / "run", *clips(words=("bed", "cat"))), "digit", tmp_path / "run")


def test_wrong_sample_rate(tmp_path, clips):
    _refused(train(tmp_path / "run", *clips(sample_rate=8000)), "8000 Hz", tmp_path / "run")


def test_archive_that_is_none(tmp_path):
    (tmp_path / "clips.tar.gz").write_bytes(b"not an archive")
    done = train(tmp_path / "run", f"--config.data.archive={tmp_path / 'clips.tar.gz'}")
    _refused(done, "clips.tar.gz", tmp_path / "run")


def test_run_then_another_configuration(tmp_path, clips):
    """A corrupt clip is named and left out; the finished run says so; a changed network is refused."""
    data = clips()
    (tmp_path / "clips" / "one" / "0_nohash_0.wav").write_bytes(b"RIFF")
    done = train(tmp_path / "run", *TINY, *data)
    assert done.returncode == 0, done.stderr
    assert "0_nohash_0.wav" in done.stderr
    assert "step 2 " in done.stdout
    assert (tmp_path / "run" / "checkpoints" / "2" / "params").is_dir()
    changed = train(tmp_path / "run", *TINY, "--config.model.d_model=4", *data)
    assert changed.returncode == 2
    assert "was trained with model.d_model=2, the config says 4" in changed.stderr


def _refused(done, said, workdir):
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert said in lines[0]
    assert not workdir.exists()


def test_archive_and_folder_give_the_same_clips(tmp_path, clips):
    """A .tar.gz of the folder trains to the same loss as the folder itself."""
    data = clips()
    with tarfile.open(tmp_path / "clips.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "clips", arcname=".")
    packed = [f"--config.data.archive={tmp_path / 'clips.tar.gz'}", data[1]]
    losses = [
        re.search(r"step 2 .*(?=steps_per_second)", train(tmp_path / f"run{n}", *TINY, *source).stdout)[0]
        for n, source in enumerate([data, packed])
    ]
    assert "loss" in losses[0]
    assert losses[0] == losses[1]


def test_a_config_alone_trains_in_a_folder_of_its_name(tmp_path, clips):
    """From another folder, in both spellings of a flag; the same command then finds the run it continues."""
    command = [ROOT / "train.py", "--config", str(ROOT / "configs" / "small.py"), *TINY, *clips()]
    for steps, spelling in [(1, "batch-size"), (2, "batch_size")]:
        more = [f"--config.train.num_steps={steps}", f"--config.train.{spelling}=2"]
        done = run_script(*command, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("workdir: runs/small\n")
    assert (tmp_path / "runs" / "small" / "checkpoints" / "2" / "params").is_dir()
    assert "step 1" in done.stderr  # where it continues


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (
            ["--help"],
            ["--workdir ", "--num-processes INT", "--config.train.batch_size=12", "--config.model.d_model=128"],
        ),
        (["--config", "configs/small.py", "--config.train.batch-size=3", "-h"], ["train.batch_size=3", "d_model=16"]),
    ],
)
def test_help_lists_flags_and_fields(arguments, shown):
    done = run_script(ROOT / "train.py", *arguments)
    assert done.returncode == 0 and done.stderr == ""
    assert all(text in done.stdout for text in shown)


def test_no_config():
    """In a process of its own, from the first import on."""
    done = subprocess.run([sys.executable, "train.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no config: give --config NAME or FILE") and done.stderr.count("\n") == 1
