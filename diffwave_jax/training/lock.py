"""One run in a folder at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax
from filelock import FileLock, Timeout

from diffwave_jax.errors import UserError
from diffwave_jax.files import make_folder, writing

LOCK = "training.lock"  # the system locks it for a process as long as that lives, so a killed one leaves no trace


@contextlib.contextmanager
def only_run(workdir: Path) -> Iterator[None]:
    """A block in which no other run can train in `workdir`; of a run's processes the first holds the lock.

    Raises:
      UserError: another run trains there, or the folder cannot be written.
    """
    if jax.process_index():
        yield
        return
    make_folder(workdir)
    lock = FileLock(workdir / LOCK)
    with writing(workdir / LOCK), _in_use(workdir):
        lock.acquire(blocking=False)
    try:
        yield
    finally:
        lock.release()


def check_unused(workdir: Path) -> None:
    """UserError if another run trains in `workdir` now; leaves no folder where there was none."""
    if jax.process_index() == 0 and (workdir / LOCK).exists():
        with only_run(workdir):
            pass


@contextlib.contextmanager
def _in_use(workdir: Path) -> Iterator[None]:
    try:
        yield
    except Timeout as error:
        raise UserError(
            f"{workdir} is in use: another run trains there; wait for it, or use another --workdir"
        ) from error
