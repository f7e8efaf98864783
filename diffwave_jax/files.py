"""Folders for results, and files that appear under their final name only when complete."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diffwave_jax.errors import UserError

if sys.platform != "win32":  # where nobody can remove a file that another process has open
    from fcntl import LOCK_EX, LOCK_NB, flock

MOST_SHOWN = 300  # characters of a path in a message
PATTERN_CHARACTERS = "[]*?{}\\"
UNFINISHED = ".partial"  # how the name of a file ends that is being written


def check_plain(path: Path) -> None:
    """Refuses a folder for checkpoints whose name the libraries that write them would take for a pattern.

    Raises:
      UserError: there is one of `[ ] * ? { }` or a backslash in the absolute path.
    """
    path = path.absolute()
    found = "".join(character for character in PATTERN_CHARACTERS if character in path.as_posix())
    if found:
        raise UserError(f"{path} has {found} in its name, which checkpoints cannot be written to: choose another name")


def usable(path: str | Path) -> Path:
    """A path that a user gave, with the home folder in place of `~`, whether or not something is there.

    Raises:
      UserError: it is none: too long, with a NUL in it, in the home folder of nobody, or links in a circle.
    """
    try:
        path = Path(path).expanduser()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{_shortened(path)} is no path that can be used ({why}): give another") from error
    return path


def _shortened(path: str | Path) -> str:
    text = str(path)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def make_folder(folder: Path) -> None:
    """Makes the folder if need be, and removes what killed processes left unfinished in it.

    Raises:
      UserError: the folder cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unfinished(folder)


@contextlib.contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; it is renamed to `path` if the block ends well, else removed.

    The block writes the temporary file and does nothing else: an OSError in it is taken for the disk's.

    Raises:
      UserError: the file cannot be written, or `path` is there and is no regular file.
    """
    check_replaceable(path)
    with writing(path), _unfinished(path) as partial:
        yield partial
        partial.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(partial, path)


def check_replaceable(path: Path) -> None:
    """UserError if something is at `path` that is no regular file: a folder, a pipe or a device; or if none can be."""
    if usable(path.absolute()).exists() and not path.is_file():
        raise UserError(f"{path} is a folder or a device, not a file: remove it, or choose another place")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes `path`; an OSError in it, such as a full disk, becomes a UserError."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: Exception) -> UserError:
    """The error to raise where the system refuses to write `path`: one line with the reason and the space there is."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return UserError(f"{path} cannot be written ({reason}; {_free(path)}): make room there, or choose another place")


def _free(path: Path) -> str:
    """The space on the disk of a path that may not exist yet."""
    for folder in path.absolute().parents:
        with contextlib.suppress(OSError):
            return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB free"
    return "free space unknown"


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, locked as long as the block runs and removed at its end if it is still there."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
        _lock(handle)
        if os.fstat(handle).st_nlink:  # else another process was faster and took it for left behind
            break
        os.close(handle)
    if sys.platform == "win32":
        os.close(handle)  # Windows renames no open file
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        if sys.platform != "win32":
            os.close(handle)


def _lock(handle: int) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(OSError):  # a file system without locks, where nothing is removed either
            flock(handle, LOCK_EX)


def _remove_unfinished(folder: Path) -> None:
    """Removes the unfinished files that no process holds any more."""
    for entry in os.scandir(folder):
        if entry.name.startswith(".") and entry.name.endswith(UNFINISHED) and entry.is_file(follow_symlinks=False):
            with contextlib.suppress(OSError):  # held by another process, or removed by it
                _remove_if_free(entry.path)


def _remove_if_free(path: str) -> None:
    if sys.platform == "win32":
        os.unlink(path)
        return
    handle = os.open(path, os.O_RDWR)
    try:
        flock(handle, LOCK_EX | LOCK_NB)
        os.unlink(path)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
