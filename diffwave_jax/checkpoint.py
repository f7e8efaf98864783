"""Checkpoints on disk: one Orbax format for training, conversion and the bundled model.

`<run>/checkpoints/<step>/` holds the items `params`, `config` and, where they exist, `ema`, `optimizer` and `data`. A
step's folder appears under its final name only when it is complete.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from diffwave_jax.errors import UserError

FOLDER = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a model needs of a checkpoint.

    Attributes:
      path: the step's folder.
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
    json = {"config": config, "data": data}
    return ocp.args.Composite(
        **{name: ocp.args.StandardSave(tree) for name, tree in arrays.items() if tree is not None},
        **{name: ocp.args.JsonSave(tree) for name, tree in json.items() if tree is not None},
    )


def save(run: Path, step: int, **contents) -> Path:
    """Writes one complete step of a run, see `items` for the contents; returns the step's folder."""
    options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False)
    with ocp.CheckpointManager(Path(run).absolute() / FOLDER, options=options) as manager:
        manager.save(step, args=items(**contents), force=True)
    return Path(run) / FOLDER / str(step)


def resolve(path: str | Path) -> Path:
    """The step's folder that `path` means: a step, a run's `checkpoints` folder or a run (their newest step).

    Raises:
      UserError: there is no such folder, or no complete checkpoint in it.
    """
    path = Path(path).expanduser().absolute()
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
      path: what `resolve` takes.
      ema: take the EMA weights where the checkpoint has them.

    Raises:
      UserError: there is no checkpoint, or it cannot be read.
    """
    step = resolve(path)
    name = "ema" if ema and (step / "ema").is_dir() else "params"
    try:
        weights, config = read_arrays(step / name), read_json(step / "config")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"the checkpoint {step} cannot be read ({reason}): take an older one, or train again"
        ) from error
    return Checkpoint(step, int(step.name) if step.name.isdigit() else 0, config, weights)


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
