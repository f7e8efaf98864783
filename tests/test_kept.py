"""Bytes kept from one process to the next: as they were written, or not there."""

import os
import subprocess
import sys

import pytest

from diffwave_jax.kept import Kept

DATA = bytes(range(256)) * 10


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept"


def test_what_was_written_is_read(folder):
    kept = Kept(folder, 10**6)
    assert kept.read("one") is None
    kept.write("one", DATA)
    kept.write("none", b"")
    assert kept.read("one") == DATA and kept.read("none") == b"" and kept.read("two") is None
    kept.write("one", b"another")
    assert Kept(folder, 10**6).read("one") == b"another"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: bytes([content[0] ^ 1]) + content[1:],
        lambda content: content[:99] + bytes([content[99] ^ 64]) + content[100:],
    ],
    ids=["empty", "cut in the digest", "cut at the end", "longer", "digest flipped", "data flipped"],
)
def test_what_is_damaged_is_discarded(folder, damage):
    kept = Kept(folder, 10**6)
    kept.write("one", DATA)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert kept.read("one") is None and not file.exists()


def test_the_least_recently_used_go_first(folder):
    kept = Kept(folder, 4 * (len(DATA) + 32))
    for age, name in enumerate(("used", "third", "second", "first")):
        kept.write(name, DATA)
        os.utime(folder / name, (1000 - age, 1000 - age))
    assert kept.read("used") == DATA  # which makes it the newest
    kept.write("new", DATA)
    assert sorted(file.name for file in folder.iterdir()) == ["new", "second", "third", "used"]
    kept.write("too large", 5 * DATA)
    assert sorted(file.name for file in folder.iterdir()) == ["new", "second", "third", "used"]


def test_what_a_killed_process_left_goes_some_day(folder):
    kept = Kept(folder, 2 * len(DATA))
    folder.mkdir()
    (folder / "tmp12345").write_bytes(DATA)
    os.utime(folder / "tmp12345", (0, 0))
    kept.write("new", DATA)
    assert [file.name for file in folder.iterdir()] == ["new"]


def test_a_folder_that_cannot_be_made(folder):
    folder.write_text("a file")
    kept = Kept(folder, 10**6)
    kept.write("one", DATA)
    assert kept.read("one") is None


WRITER = """
import sys
from pathlib import Path
from diffwave_jax.kept import Kept
kept = Kept(Path(sys.argv[1]), 300_000)
for i in range(100):
    for name in "abcd":
        kept.write(name + sys.argv[2] * (i % 2), sys.argv[2].encode() * 50_000)
        found = kept.read(name)
        assert found is None or (len(found) == 50_000 and len(set(found)) == 1), (name, found[:99])
"""


def test_processes_write_at_once(folder):
    command = [sys.executable, "-c", WRITER, str(folder)]
    writers = [subprocess.Popen([*command, letter], stderr=subprocess.PIPE, text=True) for letter in "xyz"]
    said = [writer.communicate(timeout=120)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], said
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 300_000
