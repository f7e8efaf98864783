"""The checkpoints of a run: written in the background, and found again after whatever stopped it."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding

from diffwave_jax import checkpoint
from diffwave_jax.config import ConfigDict, from_dict, to_dict
from diffwave_jax.errors import UserError
from diffwave_jax.training.step import TrainState

# Sections that decide what the weights mean; the rest of a config may change between a stop and its resumption.
FIXED_SECTIONS = ("model", "diffusion")
COMPUTE_FIELDS = ("dtype", "remat", "s4_implementation")  # of the model: how it is computed, not what


class RunCheckpoints:
    """Saves and restores the training state of the run in `workdir`.

    Args:
      workdir: the run's folder.
      config: its config.
      report: called with a line for each checkpoint that had to be passed over.
    """

    def __init__(self, workdir: Path, config: ConfigDict, report: Callable[[str], None]):
        self._folder = Path(workdir).absolute() / checkpoint.FOLDER
        self._config = config
        self._report = report
        options = ocp.CheckpointManagerOptions(
            max_to_keep=config.train.keep, keep_period=config.train.keep_every or None
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def save(self, state: TrainState, data: dict) -> None:
        """Starts writing the state and the data position; the step counts as saved once it is complete."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        contents = checkpoint.items(
            params=state.params, ema=state.ema, optimizer=state.optimizer, config=to_dict(self._config), data=data
        )
        self._manager.save(step, args=contents, force=True)

    def wait(self) -> None:
        """Until everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, then lets go of the folder."""
        self._manager.close()

    def newest(self) -> Path | None:
        """The newest complete checkpoint's folder."""
        self.wait()
        found = checkpoint.steps(self._folder)
        return found[max(found)] if found else None

    def restore(self, like: TrainState, sharding: NamedSharding) -> tuple[TrainState, dict | None] | None:
        """The newest readable state and data position, or None where the run has no checkpoint yet.

        Args:
          like: a state of the right structure and shapes (its values do not matter).
          sharding: where the arrays shall live.

        Raises:
          UserError: there are checkpoints, but none can be used, or the newest is of another configuration.
        """
        found = checkpoint.steps(self._folder) if self._folder.is_dir() else {}
        for step in sorted(found, reverse=True):
            try:
                config = from_dict(checkpoint.read_json(found[step] / "config"))
                self._check_config(config, found[step])
                return self._read(found[step], step, like, sharding)
            except (OSError, ValueError, KeyError, TypeError) as error:
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                self._report(f"checkpoint {found[step]} is damaged and passed over: {reason}")
        if found:
            raise UserError(f"none of the checkpoints in {self._folder} can be read: move them away to start afresh")
        return None

    def _read(self, path: Path, step: int, like: TrainState, sharding: NamedSharding) -> tuple[TrainState, dict | None]:
        def read(item, tree):
            if not (path / item).is_dir():
                return None
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
                return reader.restore(path / item, args=ocp.args.StandardRestore(target))

        params = read("params", like.params)
        ema = None
        if like.ema is not None:
            ema = read("ema", like.ema) or jax.tree.map(jnp.copy, params)
        optimizer = read("optimizer", like.optimizer)
        if optimizer is None:
            self._report(f"checkpoint {path} has no optimizer state: Adam's moments start at zero")
            optimizer = like.optimizer
        data = checkpoint.read_json(path / "data") if (path / "data").is_dir() else None
        return TrainState(jax.device_put(jnp.int32(step), sharding), params, ema, optimizer), data

    def _check_config(self, saved: ConfigDict, path: Path) -> None:
        for section in FIXED_SECTIONS:
            ours, theirs = _meaning(self._config[section]), _meaning(saved[section])
            for field in sorted(set(ours) | set(theirs)):
                if ours.get(field) != theirs.get(field):
                    raise UserError(
                        f"{path} was trained with {section}.{field}={theirs.get(field)!r}, the config says "
                        f"{ours.get(field)!r}: use the same config, or another --workdir"
                    )


def _meaning(section: ConfigDict) -> dict:
    return {field: value for field, value in section.to_dict().items() if field not in COMPUTE_FIELDS}
