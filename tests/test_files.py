"""Files that appear when complete; what the disk refuses; what killed processes leave behind."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffwave_jax.errors import UserError, printable
from diffwave_jax.files import complete, make_folder, writing

ROOT = Path(__file__).parents[1]


def test_a_file_appears_when_it_is_complete(tmp_path):
    with complete(tmp_path / "a.txt") as partial:
        partial.write_text("whole")
        assert not (tmp_path / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"
    with pytest.raises(ZeroDivisionError), complete(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_only_regular_files_are_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("folder", "pipe", "null"):
        with pytest.raises(UserError, match=rf"{name} is a folder or a device, not a file"), complete(tmp_path / name):
            raise AssertionError("the block must not run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "null", "pipe"]


def test_a_full_disk_is_one_line_with_the_path_and_the_space(tmp_path):
    """The system's own refusal to write more than 1000 bytes stands for a full disk: it is the same OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError) as caught, complete(tmp_path / "a.bin") as partial:
            partial.write_bytes(bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value).startswith(f"{tmp_path / 'a.bin'} cannot be written (File too large; ")
    assert "MB free): make room there, or choose another place" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a cannot be written \(Not a directory; .* MB free\)"):
        make_folder(tmp_path / "file" / "a")
    with pytest.raises(UserError, match="b cannot be written"), complete(tmp_path / "nowhere" / "b"):
        pass
    with pytest.raises(UserError, match=r"x cannot be written \(why\\nthis; "), writing(tmp_path / "x"):
        raise OSError("why\nthis")


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    held = (
        "import sys, time; from pathlib import Path; from diffwave_jax.files import complete\n"
        "with complete(Path(sys.argv[1])):\n    print('open', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", held, str(tmp_path / "a.wav")]
    writer = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "open\n"
    make_folder(tmp_path)
    [unfinished] = tmp_path.iterdir()
    assert unfinished.name.startswith(".a.wav.") and unfinished.suffix == ".partial"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    (tmp_path / ".notes").write_text("not ours")
    with complete(tmp_path / "b.wav") as partial:
        make_folder(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".notes", partial.name])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".notes", "b.wav"]


def test_foreign_text_is_one_line():
    assert printable("plain, ünï-cödé 数字 \\ 'x'") == "plain, ünï-cödé 数字 \\ 'x'"
    assert printable("a\nerror: b\r\t\x1b[31m\x85\u2028\u202e\udce9") == (
        r"a\nerror: b\r\t\x1b[31m\x85\u2028\u202e\udce9"
    )
    error = UserError("no\nsuch \x1b[2Jfile")
    assert str(error) == r"no\nsuch \x1b[2Jfile" and str(UserError(error)) == str(error)
