"""Folders for results, and files that appear under their final name only when complete."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diffwave_jax.errors import UserError


def make_folder(folder: Path) -> None:
    """Makes the folder if need be; UserError where that is impossible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}): choose another folder") from error


@contextlib.contextmanager
def complete(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; it is renamed to `path` if the block ends well, else removed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
