import os

import pytest

from diffwave_jax.data.listing import list_folder


def is_wav(name):
    return name.endswith(".wav")


@pytest.fixture
def root(tmp_path):
    for name in ("a/1.wav", "a/2.wav", "b.txt", ".hidden.wav", ".Trash/1.wav", "a/._1.wav", "c/1.wav"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "root"


def names(files):
    return list(files.paths)


def test_lists_wanted_files_without_hidden_ones(root):
    assert names(list_folder(root, is_wav)) == ["a/1.wav", "a/2.wav", "c/1.wav"]
    assert names(list_folder(root, lambda name: name.endswith(".txt"))) == ["b.txt"]


@pytest.mark.parametrize("target", [".", "..", "/", "a", "a/1.wav"])
def test_a_link_to_what_is_there_adds_nothing_and_is_told(root, target):
    os.symlink(target if target != "/" else root.root, root / "again.wav")
    files = list_folder(root, is_wav)
    assert names(files) == ["a/1.wav", "a/2.wav", "c/1.wav"]
    assert files.remarks == ["1 links lead to files or folders that are there already: each file counts once"]


def test_what_lies_elsewhere_is_followed_once(root, tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "9.wav").write_text("pool")
    os.symlink(tmp_path / "pool", tmp_path / "pool" / "loop")
    for name in ("d", "e"):
        os.symlink(tmp_path / "pool", root / name)
    files = list_folder(root, is_wav)
    assert names(files) == ["a/1.wav", "a/2.wav", "c/1.wav", "d/9.wav"]
    assert files.paths["d/9.wav"].read_text() == "pool"
    assert "2 links" in files.remarks[0]


def test_what_leads_nowhere_is_left_out_with_the_reason(root):
    os.symlink("nothing.wav", root / "dangling.wav")
    os.symlink("circle.wav", root / "circle.wav")
    os.symlink("nothing.txt", root / "not wanted.txt")
    os.mkfifo(root / "fifo.wav")
    files = list_folder(root, is_wav)
    assert names(files) == ["a/1.wav", "a/2.wav", "c/1.wav"]
    assert files.left_out == {
        "dangling.wav": "a link that leads nowhere: No such file or directory",
        "circle.wav": "a link that leads nowhere: Too many levels of symbolic links",
        "fifo.wav": "is no regular file",
    }


def test_a_folder_that_cannot_be_read_is_left_out(root, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # the tests may run as root, whom no mode keeps out
    files = list_folder(root, is_wav)
    assert (names(files), files.left_out) == (["c/1.wav"], {"a": "Permission denied"})


@pytest.mark.parametrize("name", ["[1]", "a*b?", "{x}", "back\\slash", "x[1:3]", "caf\udce9"])
def test_any_name_will_do(root, name):
    (root / name).mkdir()
    (root / name / f"{name}.wav").write_text("")
    assert f"{name}/{name}.wav" in names(list_folder(root / name / "..", is_wav))
    assert names(list_folder(root / name, is_wav)) == [f"{name}.wav"]


def test_a_file_that_vanishes_has_no_status(root):
    files = list_folder(root, is_wav)
    (root / "a/1.wav").unlink()
    assert [status is None for _, status in files.stats()] == [True, False, False]
