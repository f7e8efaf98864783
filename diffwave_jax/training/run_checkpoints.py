"""The checkpoints of a run: written in the background, and found again after whatever stopped it."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from diffwave_jax import checkpoint, digests
from diffwave_jax.config import ConfigDict, from_dict, to_dict
from diffwave_jax.config_check import UnknownField
from diffwave_jax.errors import UserError, reason
from diffwave_jax.training.optimizer import fresh_adam
from diffwave_jax.training.step import TrainState

# Sections that decide what the weights mean; the rest of a config may change between a stop and its resumption.
FIXED_SECTIONS = ("model", "diffusion")
COMPUTE_FIELDS = ("dtype", "remat", "s4_implementation")  # of the model: how it is computed, not what
# Of a student: which steps it learns, and from whom.
STUDENT_FIELDS = (("sample", "levels"), ("distill", "fingerprint"))


class RunCheckpoints:
    """Saves and restores the training state of the run in `workdir`; a context that ends once all is on disk.

    Args:
      workdir: the run's folder, the same one for all processes.
      config: its config.
      report: called with a line for each checkpoint that had to be passed over.
    """

    def __init__(self, workdir: Path, config: ConfigDict, report: Callable[[str], None]):
        self._workdir = workdir
        self._folder = Path(workdir).absolute() / checkpoint.FOLDER
        self._config = config
        self._report = report
        self._manager: ocp.CheckpointManager | None = None
        self._saving = self._folder  # the last step's folder, once there is one

    def __enter__(self) -> "RunCheckpoints":
        return self

    def __exit__(self, kind: type | None, *_) -> None:
        if self._manager is None:
            return
        try:
            with contextlib.suppress(UserError) if kind else contextlib.nullcontext():  # tell what came first
                self._wait()
        finally:
            with contextlib.suppress(OSError, ValueError):  # what `_wait` has told
                self._manager.close()
            checkpoint.remove_unfinished(self._saving)

    def open(self) -> None:
        """Makes what saves; to be called after `restore`, so that what cannot be read never counts as saved.

        Raises:
          UserError: the folder cannot be written.
        """
        train = self._config.train
        self._manager = checkpoint.make_manager(
            self._workdir,
            background=True,
            max_to_keep=train.keep,
            keep_period=train.keep_every or None,
            cleanup_tmp_directories=True,
        )

    def save(self, state: TrainState, data: dict) -> None:
        """Starts writing the state and the data position; the step counts as saved once it is complete.

        The state may be changed as soon as this returns: what remains to be written is a copy on the host.

        Raises:
          UserError: this checkpoint, or the one before, cannot be written; older ones stay whole.
        """
        step = int(state.step)
        self._wait()
        if step in self._opened.all_steps():
            return
        contents = checkpoint.items(
            params=state.params, ema=state.ema, optimizer=state.optimizer, config=to_dict(self._config), data=data
        )
        self._saving = self._folder / str(step)
        with checkpoint.saving(self._saving):
            self._opened.save(step, args=contents, force=True)

    @property
    def _opened(self) -> ocp.CheckpointManager:
        if self._manager is None:
            raise RuntimeError("open() comes before saving and looking for what is saved")
        return self._manager

    def newest(self) -> Path | None:
        """The newest complete checkpoint's folder."""
        self._wait()
        step = self._opened.latest_step()
        return None if step is None else self._folder / str(step)

    def _wait(self) -> None:
        """Waits until the checkpoint that is being written is complete."""
        with checkpoint.saving(self._saving):
            self._opened.wait_until_finished()

    def restore(self, like: TrainState, sharding: NamedSharding, seek: Callable[[dict], None]) -> TrainState | None:
        """The newest readable state, or None where the run has no checkpoint yet.

        Newer ones that are damaged or foreign are named in a report and renamed, so that they are not in the way.

        Args:
          like: a state of the right structure and shapes (its values do not matter).
          sharding: where the arrays shall live.
          seek: called with the data position, if there is one; raises ValueError if it is none.

        Raises:
          UserError: there are checkpoints, but none can be used, or the newest is of another configuration or was
            written by newer code.
        """
        unreadable = []
        for path in self._found():
            try:
                items = self._verified(path)
                self._check_config(_config(path), path)
                restored = self._read(path, items, like, sharding)
                if "data" in items:
                    seek(checkpoint.read_json(path / "data"))
            except checkpoint.DAMAGED as error:
                self._report(f"checkpoint {path} cannot be read and is passed over: {reason(error)}")
                unreadable.append(path)
            else:
                _put_aside(unreadable)
                return restored
        if unreadable:
            raise UserError(
                f"none of the checkpoints in {self._folder} can be read: move them away to start afresh, "
                "or use another --workdir"
            )
        return None

    def _found(self) -> list[Path]:
        """Whatever is named as a checkpoint, newest first."""
        paths = self._folder.iterdir() if self._folder.is_dir() else ()
        return sorted((path for path in paths if path.name.isdecimal()), key=lambda path: -int(path.name))

    def _verified(self, path: Path) -> set[str]:
        """The checkpoint's items, all of them what was written; ValueError if not."""
        items = checkpoint.saved_items(path)
        if not digests.verify(path, items):
            self._report(f"checkpoint {path} has no digests: whether its files have changed cannot be told")
        return items

    def _read(self, path: Path, items: set[str], like: TrainState, sharding: NamedSharding) -> TrainState:
        step = int(path.name)

        def read(item, tree):
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
            return checkpoint.read_like(path / item, target)

        params = read("params", like.params)
        ema = like.ema
        if ema is not None:
            copied = jax.jit(functools.partial(jax.tree.map, jnp.copy), out_shardings=sharding)
            ema = read("ema", ema) if "ema" in items else copied(params)
        if "optimizer" in items:
            optimizer = read("optimizer", like.optimizer)
        else:
            self._report(f"checkpoint {path} has no optimizer state: Adam's moments start at zero")
            fresh = functools.partial(fresh_adam, self._config.train, step=step)
            optimizer = jax.jit(fresh, out_shardings=sharding)(params)
        return TrainState(jax.device_put(np.int32(step), sharding), params, ema, optimizer)

    def _check_config(self, saved: ConfigDict, path: Path) -> None:
        ours, theirs = _meaning(self._config), _meaning(saved)
        for field in sorted(set(ours) | set(theirs)):
            if ours.get(field) != theirs.get(field):
                raise UserError(
                    f"{path} was trained with {field}={theirs.get(field)!r}, the config says {ours.get(field)!r}: use "
                    "the same config, or another --workdir"
                )


def _config(path: Path) -> ConfigDict:
    """The checkpoint's config.

    Raises:
      UserError: it has a field that this code does not know.
      ValueError: it is none of ours.
    """
    if not (path / "config").is_dir():
        raise ValueError("it is no checkpoint of this project")
    try:
        return from_dict(checkpoint.read_json(path / "config"))
    except UnknownField as error:
        raise UserError(
            f"checkpoint {path} was written by newer code ({error}): update this code to continue"
        ) from error
    except UserError as error:
        raise ValueError(str(error)) from error


def _meaning(config: ConfigDict) -> dict:
    """{dotted name: value} of what decides what the weights mean."""
    fields = [
        (section, field) for section in FIXED_SECTIONS for field in config[section] if field not in COMPUTE_FIELDS
    ]
    fields += STUDENT_FIELDS if config.sample.distilled else ()
    return {f"{section}.{field}": config[section][field] for section, field in fields}


def _put_aside(paths: list[Path]) -> None:
    """Renames each to NAME.unreadable, once every process is done with it."""
    if not paths:
        return
    multihost_utils.sync_global_devices("checkpoints read")
    if jax.process_index() == 0:
        for path in paths:
            path.rename(_unused(path.with_name(f"{path.name}.unreadable")))
    multihost_utils.sync_global_devices("unreadable checkpoints put aside")


def _unused(path: Path) -> Path:
    """`path`, or the first of path.2, path.3, ... that does not exist."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}.{number}")
    return candidate
