"""Checkpoints on disk: one Orbax format for training, conversion and the bundled model.

`<run>/checkpoints/<step>/` holds the items `params`, `config` and, where they exist, `ema`, `optimizer` and `data`, and
the digests of all of them. A step's folder appears under its final name only when it is complete.
"""

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from diffwave_jax import digests, echoes, one_file
from diffwave_jax.errors import UserError, printable, reason
from diffwave_jax.files import cannot_write, check_plain, make_folder, usable

FOLDER = "checkpoints"
CONTENTS = "_CHECKPOINT_METADATA"  # Orbax's list of the items that a step was saved with
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError)  # what reading a damaged checkpoint may raise

TEMPORARY = ocp.path.atomicity.TMP_DIR_SUFFIX  # how Orbax goes on the name of a folder that is not complete
REMOVALS = 40  # times to look for an unfinished folder, within two seconds

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a model needs of a checkpoint.

    Attributes:
      path: the step's folder, or the file.
      step: training steps done.
      config: the config as plain data.
      weights: {dotted name: array}, the EMA weights where there are any.
    """

    path: Path
    step: int
    config: dict
    weights: dict[str, np.ndarray]


def items(*, params, config: Mapping, ema=None, optimizer=None, data: Mapping | None = None) -> ocp.args.Composite:
    """The items of one step, as Orbax wants them; None leaves an item out."""
    arrays = {"params": params, "ema": ema, "optimizer": optimizer}
    plain = {"config": config, "data": data}
    return ocp.args.Composite(
        **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items() if tree is not None},
        **{name: ocp.args.JsonSave(tree) for name, tree in plain.items() if tree is not None},
    )


class _StepWithDigests(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """The folder of a step while it is written; digests of its items are recorded before it gets its final name."""

    async def finalize(self) -> None:
        if is_step(Path(self.get())):  # Orbax gives the items' folders their final names in the same way
            await asyncio.to_thread(digests.write, Path(self.get()))
        await super().finalize()


def make_manager(run: str | Path, *, background: bool, **options: Any) -> ocp.CheckpointManager:
    """What writes the steps of a run, whose folders are made here, so that a place that cannot be used shows at once.

    Args:
      run: the run's folder.
      background: return from `save` as soon as the arrays are copied, and write them in a thread.
      options: further fields of Orbax's `CheckpointManagerOptions`.

    Raises:
      UserError: the folder has a name that Orbax cannot use, or cannot be made.
    """
    folder = Path(run).absolute() / FOLDER
    check_plain(folder)
    make_folder(folder)
    echoes.silence()
    return ocp.CheckpointManager(
        folder,
        options=ocp.CheckpointManagerOptions(
            enable_async_checkpointing=background, temporary_path_class=_StepWithDigests, **options
        ),
    )


def save(run: str | Path, step: int, **contents: Any) -> Path:
    """Writes one complete step of a run, and reads it back to see that it is there.

    Args:
      run: the run's folder.
      step: training steps done.
      contents: see `items`.

    Returns:
      The step's folder.

    Raises:
      UserError: it cannot be written, or what can be read afterwards is something else.
    """
    path = Path(run).absolute() / FOLDER / str(step)
    with make_manager(run, background=False) as manager, saving(path):
        manager.save(step, args=items(**contents), force=True)
    try:
        _compare(path, contents)
    except DAMAGED as error:
        shutil.rmtree(path, ignore_errors=True)
        raise UserError(f"{path} was written but cannot be read back ({reason(error)}): choose another disk") from error
    return Path(run) / FOLDER / str(step)


def _compare(path: Path, contents: Mapping) -> None:
    """ValueError if a step's folder does not hold these contents, bit for bit."""
    for name, tree in contents.items():
        if tree is None:
            continue
        arrays = jax.tree.map(np.asarray, tree) if name in ("params", "ema", "optimizer") else None
        found = read_json(path / name) if arrays is None else read_like(path / name, arrays)
        bits = functools.partial(jax.tree.map, lambda leaf: np.asarray(leaf).tobytes())
        if found != tree if arrays is None else bits(found) != bits(arrays):
            raise ValueError(f"its part {name} is not what was to be written")


@contextlib.contextmanager
def saving(path: Path) -> Iterator[None]:
    """A block that writes the step's folder `path`, or waits until a thread has.

    Raises:
      UserError: the system refuses to write, as where the disk is full; nothing half-written is left.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        refused = error if isinstance(error, OSError) else _system_error(error)
        if refused is None:
            raise
        remove_unfinished(path)
        raise cannot_write(path, refused) from error


def remove_unfinished(path: Path) -> None:
    """Removes what was written of the step's folder `path` before it failed, and is still being written by threads."""
    for _ in range(REMOVALS):
        left = [part for part in path.parent.iterdir() if part.name.startswith(path.name + TEMPORARY)]
        for part in left:
            shutil.rmtree(part, ignore_errors=True)
        if not left:
            break
        time.sleep(0.05)


def _system_error(error: ValueError) -> OSError | None:
    """What the system said where Orbax's array library gives it as the text of a ValueError, else None."""
    number = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def resolve(path: str | Path) -> Path:
    """The step's folder that `path` means: a step, a run's `checkpoints` folder or a run (their newest step).

    Raises:
      UserError: there is no such folder, or no complete checkpoint in it.
    """
    path = usable(path).absolute()
    if not path.is_dir():
        raise UserError(f"no checkpoint folder at {path}: give a run's folder or one of its checkpoints")
    if is_step(path):
        return path
    found = steps(path)
    if not found:
        raise UserError(
            f"no complete checkpoint in {path}: a checkpoint is a folder checkpoints/STEP with params and config"
        )
    return found[max(found)]


def steps(path: Path) -> dict[int, Path]:
    """The complete steps in a run's folder, or in its `checkpoints` folder."""
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    return {int(step.name): step for step in folder.iterdir() if step.name.isdigit() and is_step(step)}


def is_step(path: Path) -> bool:
    """Whether `path` looks like one step of a run."""
    return (path / "params").is_dir() and (path / "config").is_dir()


def load(path: str | Path, *, ema: bool = True) -> Checkpoint:
    """Reads a checkpoint's weights and config onto the host.

    Args:
      path: what `resolve` takes; or a model in one file, `one_file.read`.
      ema: take the EMA weights where the checkpoint has them.

    Raises:
      UserError: there is no checkpoint, or it cannot be read.
    """
    path = usable(path)
    if one_file.is_named_so(path) and not path.is_dir():
        held = one_file.read(path)
        return Checkpoint(path, held.step, held.config, held.weights)
    step = resolve(path)
    try:
        name = "ema" if ema and "ema" in saved_items(step) else "params"
        with digests.verifying(step, (name, "config")) as verified:
            weights, config = read_arrays(step / name), read_json(step / "config")
        if not verified.result():
            _tell_without_digests(step)
    except DAMAGED as error:
        raise UserError(
            f"the checkpoint {step} cannot be read ({reason(error)}): take an older one, or train again"
        ) from error
    return Checkpoint(step, int(step.name) if step.name.isdigit() else 0, config, weights)


def saved_items(step: Path) -> set[str]:
    """The items that a step was saved with, all of which must still be there.

    Raises:
      OSError, ValueError, KeyError, TypeError: one is missing, or the list of them is damaged.
    """
    items = digests.recorded(step) or json.loads((step / CONTENTS).read_bytes())["item_handlers"]
    for item in items:
        if not (step / item).is_dir():
            raise ValueError(f"its part {item} is missing")
    return set(items)


@functools.cache  # once for each checkpoint
def _tell_without_digests(step: Path) -> None:
    _log.warning("the checkpoint %s has no digests: whether its files have changed cannot be told", printable(step))


def read_arrays(item: Path) -> dict:
    """A saved item of arrays as NumPy arrays, whatever devices it was saved from."""
    handler = ocp.PyTreeCheckpointHandler()
    with _Reading(), ocp.Checkpointer(handler) as reader:
        tree = handler.metadata(epath.Path(item)).tree  # the Checkpointer's own warns of a file that single items lack
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(item, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def read_like(item: Path, like: Any) -> Any:
    """A saved item of arrays as the `jax.ShapeDtypeStruct`s of `like` say: structure, shapes and shardings."""
    with _Reading(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        return reader.restore(item, args=ocp.args.StandardRestore(like))


class _Reading:
    """A context in which a damaged array raises ValueError; Orbax raises a bare Exception there."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is Exception:
            raise ValueError(f"a part is damaged or missing: {error.__cause__ or error}") from error


def read_json(item: Path) -> dict:
    """A saved item of plain data."""
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        return reader.restore(item)
