"""Single bytes of a checkpoint changed on the disk, and what reading it then gives."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np

from diffwave_jax import checkpoint
from diffwave_jax.errors import UserError
from diffwave_jax.training.loop import Run


@contextmanager
def flipped(step: Path, draw: random.Random) -> Iterator[str]:
    """Changes one byte of a random file of a step's folder for the block; what was changed, in words."""
    file = draw.choice(sorted(path for path in step.rglob("*") if path.is_file() and path.stat().st_size))
    whole = file.read_bytes()
    place, change = draw.randrange(len(whole)), draw.randrange(1, 256)
    file.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
    yield f"{file.relative_to(step)}, byte {place} of {len(whole)} changed by {change}"
    file.write_bytes(whole)


def loaded(step: Path) -> object:
    """What sampling uses of a checkpoint; None where it is refused."""
    try:
        saved = checkpoint.load(step)
    except UserError:
        return None
    return saved.step, saved.config, {name: value.tobytes() for name, value in saved.weights.items()}


def resumed(config, workdir: Path) -> object:
    """The state with which a run would continue; None where there is no checkpoint that it accepts."""
    run = Run(config, workdir)
    try:
        state = run._start()
    except UserError:
        return None
    run._checkpoints.__exit__(None)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)], run._feed.position()
