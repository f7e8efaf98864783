"""Our own checkpoints, as the `Contents` that conversions pass around."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from diffwave_jax import checkpoint
from diffwave_jax.config import DENOISING, default_config, from_dict, model_section, to_dict
from diffwave_jax.convert.contents import Adam, Contents
from diffwave_jax.errors import UserError
from diffwave_jax.training.optimizer import learning_rate, resumed_adam

AVERAGE_DECAY = 0.999  # of a moving average whose file does not say it
RELEASED_DROP = {"schedule": "drop", "learning_rate": 2e-4, "drop_step": 500_001, "drop_factor": 0.2}


def write_ours(run: str | os.PathLike, contents: Contents) -> Path:
    """Writes the first checkpoint of a run that `train.py` continues and everything else loads; returns its folder.

    Raises:
      UserError: the folder has checkpoints already, or cannot be written.
    """
    run = Path(run)
    if run.is_file() or (run.is_dir() and checkpoint.steps(run)):
        raise UserError(f"{run} is a file or has checkpoints already: choose a new folder")
    config = to_dict(config_of(contents))
    optimizer = None
    if contents.adam is not None:
        adam = contents.adam
        optimizer = resumed_adam(config_of(contents).train, contents.weights, adam.mu, adam.nu, adam.count)
    items = {"params": contents.weights, "ema": contents.average, "optimizer": optimizer}
    is_new = not run.exists()
    try:
        step = checkpoint.save(run, contents.step, config=config, **items)
        _check_written(step, items, config)
    except (OSError, ValueError) as error:
        shutil.rmtree(run if is_new else run / checkpoint.FOLDER / str(contents.step), ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise UserError(f"{run} cannot be written: {reason}; choose another folder, of a plain name") from error
    return step


def _check_written(step: Path, items: dict, config: dict) -> None:
    """ValueError unless all reads back as it was written: not every disk and every folder's name serves the library."""
    step = step.absolute()  # the checkpoint library reads no other
    try:
        same = checkpoint.read_json(step / "config") == json.loads(json.dumps(config))
        for name in (name for name, written in items.items() if written is not None):
            found, expected = jax.tree.leaves(checkpoint.read_arrays(step / name)), jax.tree.leaves(items[name])
            same = same and len(found) == len(expected) and all(map(_same_bits, found, expected))
    except (OSError, ValueError) as error:
        raise ValueError("what was written there cannot be read back") from error
    if not same:
        raise ValueError("what was written there reads back otherwise")


def _same_bits(first: np.ndarray, second: jax.Array) -> bool:
    other = np.asarray(second)
    return first.dtype == other.dtype and first.shape == other.shape and first.tobytes() == other.tobytes()


def config_of(contents: Contents) -> ConfigDict:
    """The config that continues the original's run: its network, clip length and learning rate."""
    config = default_config()
    fields = dict(contents.model)
    config.model = model_section(fields.pop("name"), **fields)
    config.data.length = config.model.length
    if config.model.name == "sashimi_ar":
        _continue_autoregression(config, contents)
    else:
        config.train.update(_learning_rate_fields(contents))
    for section, fields in contents.sections.items():
        config[section].update(fields)
    if contents.average is not None:
        config.train.ema_decay = contents.average_decay or AVERAGE_DECAY
    return config


def _continue_autoregression(config: ConfigDict, contents: Contents) -> None:
    """As the originals train: by groups, until validation stops improving; RF5's programs count padding too."""
    config.train.update(task="autoregression", schedule="plateau", validate_every=1000)
    config.train.weight_decay = contents.weight_decay
    if contents.learning_rate is not None:
        config.train.learning_rate = contents.learning_rate
        if contents.state_learning_rate != contents.learning_rate:
            config.train.state_learning_rate = contents.state_learning_rate
    if config.model.code == "mu_law":
        config.train.update(start_token=False, count_padding=True)
        config.data.length = config.model.length + 1


def _learning_rate_fields(contents: Contents) -> dict:
    """The released SaShiMi recipe where the checkpoint's learning rate is on it, else the checkpoint's for good."""
    if contents.learning_rate is None:
        return {}
    recipe = default_config().train
    recipe.update(RELEASED_DROP)
    updates = contents.adam.count if contents.adam else contents.step
    on_recipe = np.isclose(learning_rate(recipe)(max(updates - 1, 0)), contents.learning_rate, rtol=1e-5)
    if contents.model["name"] == "sashimi" and on_recipe:
        return RELEASED_DROP
    return {"schedule": "constant", "learning_rate": contents.learning_rate}


def read_ours(path: str | os.PathLike, *, ema: bool = True) -> Contents:
    """Reads a checkpoint that training or a conversion wrote.

    Args:
      path: a run's folder, its `checkpoints` folder or one step.
      ema: take the averaged weights, where there are any, and leave the optimizer state, which is not theirs.

    Raises:
      UserError: there is no checkpoint, it cannot be read, or its network predicts something else than noise or sees
        audio scaled.
    """
    saved = checkpoint.load(Path(path), ema=ema)
    config = from_dict(saved.config)
    if config.train.task not in DENOISING:
        raise UserError(f"only diffusion models are converted back, and this is a {config.model.name}")
    if config.diffusion.prediction != "noise":
        raise UserError(f"the original's networks predict noise, this one predicts {config.diffusion.prediction}")
    if config.diffusion.signal_scale != 1:
        scale = config.diffusion.signal_scale
        raise UserError(f"the original's networks see audio as it is, this one audio times {scale} (signal_scale)")
    averaged = ema and (saved.path / "ema").is_dir()
    adam = None if averaged else _read_adam(saved.path / "optimizer")
    updates = adam.count if adam else saved.step
    rate = float(
        f"{float(np.asarray(learning_rate(config.train)(max(updates - 1, 0)))):.7g}"
    )  # float32 has no more digits
    sections = {name: config[name].to_dict() for name in ("diffusion", "data", "mel", "train", "sample")}
    return Contents(config.model.to_dict(), saved.weights, saved.step, rate, adam, sections=sections)


def _read_adam(item: Path) -> Adam | None:
    if not item.is_dir():
        return None

    def is_adam(part: object) -> bool:
        return isinstance(part, dict) and {"count", "mu", "nu"} <= part.keys()

    parts = jax.tree.leaves(checkpoint.read_arrays(item), is_leaf=is_adam)
    states = [Adam(int(part["count"]), part["mu"], part["nu"]) for part in parts if is_adam(part)]
    return states[0] if states else None
