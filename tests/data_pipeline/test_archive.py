import os

import pytest

from diffwave_jax.data.archive import content_key, list_files, unpack
from diffwave_jax.errors import UserError
from tests.helpers.audio_files import pack


def everything(name):
    return True


@pytest.fixture
def root(tmp_path):
    files = {"a/1.wav": b"one", "a/2.wav": b"two", "b.txt": b"text", ".hidden": b"", "a/._1.wav": b"attributes"}
    for name, content in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "root"


def test_lists_wanted_files_without_hidden_ones(root):
    assert list_files(root, everything) == ["a/1.wav", "a/2.wav", "b.txt"]
    assert list_files(root, lambda name: name.endswith(".txt")) == ["b.txt"]


@pytest.mark.parametrize("prefix", ["", "./"])
def test_unpacks_wanted_files(root, tmp_path, prefix):
    archive = pack(root, tmp_path / "x.tar.gz", prefix)
    target = unpack(archive, lambda name: name.endswith(".wav"), tmp_path / "target")
    assert list_files(target, everything) == ["a/1.wav", "a/2.wav"]
    assert (target / "a/2.wav").read_bytes() == b"two"


def test_a_folder_is_left_where_it_is(root, tmp_path):
    assert unpack(root, everything, tmp_path / "target") == root
    assert not (tmp_path / "target").exists()


def test_nothing_is_written_outside_the_target(root, tmp_path):
    archive = pack(root, tmp_path / "x.tar.gz", prefix="../outside/")
    unpack(archive, everything, tmp_path / "target")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "x.tar.gz"]


@pytest.mark.parametrize("damage", ["not a tar", "cut", "flipped"])
def test_a_damaged_archive_is_one_clear_line(root, tmp_path, damage):
    (root / "a" / "big.wav").write_bytes(os.urandom(100_000))
    archive = pack(root, tmp_path / "x.tar.gz")
    content = bytearray(archive.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    archive.write_bytes(b"hello" * 100 if damage == "not a tar" else content)
    with pytest.raises(
        UserError, match=r"data\.archive: .*x\.tar\.gz is no intact tar archive \(.+\); fetch"
    ) as caught:
        unpack(archive, everything, tmp_path / "target")
    assert "\n" not in str(caught.value)


def test_fingerprint_of_an_archive_follows_its_content(root, tmp_path):
    first, second = pack(root, tmp_path / "1.tar.gz"), tmp_path / "2.tar.gz"
    (root / "b.txt").write_bytes(b"TEXT")
    pack(root, second)
    os.utime(second, ns=(0, first.stat().st_mtime_ns))
    assert content_key(first, everything) != content_key(second, everything)
    assert content_key(first, everything) == content_key(first, everything)


def test_fingerprint_of_a_folder_follows_wanted_files_only(root):
    def wanted(name):
        return name.endswith(".wav")

    before = content_key(root, wanted)
    (root / "b.txt").write_bytes(b"other text")
    assert content_key(root, wanted) == before
    (root / "a/1.wav").write_bytes(b"longer than before")
    assert content_key(root, wanted) != before
