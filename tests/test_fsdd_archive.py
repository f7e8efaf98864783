"""FSDD as it is published, made into an archive that training reads."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

TOOL = Path(__file__).parents[1] / "tools" / "fsdd_archive.py"


def run(*arguments):
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def published(tmp_path):
    """Recordings 0 to 11 of two digits by two speakers, as in a release."""
    recordings = tmp_path / "free-spoken-digit-dataset-1.0.10" / "recordings"
    recordings.mkdir(parents=True)
    for digit in (0, 7):
        for speaker in ("jackson", "theo"):
            for index in range(12):
                soundfile.write(recordings / f"{digit}_{speaker}_{index}.wav", np.full(80, index / 100), 8000)
    return recordings.parent


@pytest.mark.parametrize("kind", ["gztar", "zip", "folder"])
def test_a_release_becomes_words_and_lists(published, tmp_path, kind):
    source = published.parent
    if kind != "folder":
        source = shutil.make_archive(str(tmp_path.parent / f"{tmp_path.name}-release"), kind, published.parent)
    result = run(source, tmp_path / "fsdd.tar.gz")
    assert (result.returncode, result.stderr) == (0, "")
    with tarfile.open(tmp_path / "fsdd.tar.gz") as tar:
        assert len(tar.getnames()) == 2 * 2 * 12 + 2
        assert tar.extractfile("seven/theo_nohash_3.wav").read() == (published / "recordings/7_theo_3.wav").read_bytes()
        test, validation = (tar.extractfile(f"{name}_list.txt").read().decode() for name in ("testing", "validation"))
    expected = [
        f"{word}/{who}_nohash_{i}.wav" for word in ("seven", "zero") for who in ("jackson", "theo") for i in range(5)
    ]
    assert test.split() == expected
    assert validation.split()[0] == "seven/jackson_nohash_5.wav" and len(validation.split()) == len(expected)


def test_other_files_are_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.tar.gz").write_bytes(b"no archive")
    for source, complaint in (("empty", "has no file like"), ("broken.tar.gz", "cannot be unpacked")):
        result = run(tmp_path / source, tmp_path / "fsdd.tar.gz")
        assert result.returncode != 0 and complaint in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "fsdd.tar.gz").exists()
