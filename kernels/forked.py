"""Child processes that a fork made of a process which had used JAX: XLA's threads are not in them, and calls hang."""

import os

from jax._src import xla_bridge  # jax has no public name for it

_forked = False


def check_not_forked() -> None:
    """Raises RuntimeError where a computation would wait for ever for threads that the fork left behind."""
    if _forked:
        raise RuntimeError(
            "this process was forked from one that had used JAX already, and XLA's threads are not in it: start it "
            "with multiprocessing's 'spawn' or 'forkserver' method, or before JAX is first used"
        )


def _note_fork() -> None:
    global _forked
    _forked = _forked or xla_bridge.backends_are_initialized()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
