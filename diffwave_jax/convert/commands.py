"""Whole conversions, from a PyTorch file to a run's folder and back."""

import dataclasses
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from diffwave_jax import checkpoint, one_file
from diffwave_jax.convert import length
from diffwave_jax.convert.contents import Arrays, Contents
from diffwave_jax.convert.from_torch import read_torch
from diffwave_jax.convert.ours import config_of, read_ours, write_ours
from diffwave_jax.convert.to_torch import write_torch
from diffwave_jax.errors import UserError
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.generation.generator import Generator
from diffwave_jax.models import model_config
from diffwave_jax.tokens import LEVELS


def convert_from_torch(
    source: str | os.PathLike,
    run: str | os.PathLike,
    *,
    per_stage_length: bool = False,
    optimizer: bool = True,
    dilation_cycle: int | None = None,
    clip_length: int | None = None,
    dt: str | None = None,
    code: str | None = None,
    config: str | os.PathLike | None = None,
) -> list[str]:
    """Converts a checkpoint of the original's `train.py` to a run's folder that `train.py` continues.

    Args:
      source: the .pt file.
      run: the folder, which must not have checkpoints yet.
      per_stage_length: cut each stage's l_max to its samples: same outputs, cheaper kernels, no optimizer state.
      optimizer: convert Adam's state too.
      dilation_cycle: DiffWave's, where its number of layers is not a published one.
      clip_length: samples of a clip; None for the longest that l_max allows, for DiffWave 16000.
      dt, code: of an autoregressive model, see `read_torch`.
      config: a JSON file, the original's own configuration, for what the checkpoint does not say.

    Returns:
      What was found and done, in lines.

    Raises:
      UserError: see `read_torch` and `write_ours`.
    """
    keep_optimizer = optimizer and not per_stage_length  # Adam's second moments cannot follow a change of C's basis
    contents = read_torch(
        source,
        dilation_cycle=dilation_cycle,
        length=clip_length,
        dt=dt,
        code=code,
        optimizer=keep_optimizer,
        config=config,
    )
    lines = describe(contents)
    if per_stage_length:
        contents, line = _with_lengths(contents, length.per_stage(contents.model))
        lines.append(line)
    return [*lines, f"wrote {write_ours(run, contents)}"]


def convert_to_torch(source: str | os.PathLike, target: str | os.PathLike, *, ema: bool = True) -> list[str]:
    """Converts one of our checkpoints to a file that the original's code loads.

    Args:
      source: a run's folder or one of its checkpoints.
      target: the .pt file.
      ema: take the averaged weights, where there are any; the optimizer state goes with the others.

    Returns:
      What was found and done, in lines.

    Raises:
      UserError: see `read_ours` and `write_torch`.
    """
    contents = read_ours(source, ema=ema)
    lines = describe(contents)
    single = length.single_length(contents.model)
    if model_config(single) != model_config(contents.model):
        contents, line = _with_lengths(dataclasses.replace(contents, adam=None), single)
        lines.append(f"the original has one l_max for all stages; {line}; without the optimizer state")
    write_torch(target, contents)
    return [*lines, f"wrote {target}"]


def convert_to_one_file(source: str | os.PathLike, target: str | os.PathLike, *, ema: bool = True) -> list[str]:
    """Writes the model of a run into one file, the form to hand on; its optimizer state stays behind.

    Args:
      source: a run's folder or one of its checkpoints.
      target: the file, which ends in `.safetensors`.
      ema: take the averaged weights, where there are any.

    Returns:
      What was done, in lines.

    Raises:
      UserError: see `checkpoint.load` and `one_file.save`.
    """
    saved = checkpoint.load(Path(source), ema=ema)
    return [_summary(saved), f"wrote {one_file.save(Path(target), saved.config, saved.weights, saved.step)}"]


def convert_from_one_file(source: str | os.PathLike, run: str | os.PathLike) -> list[str]:
    """Writes the model of one file as the first checkpoint of a run.

    Args:
      source: the file.
      run: the folder, which must not have checkpoints yet.

    Returns:
      What was done, in lines.

    Raises:
      UserError: the file cannot be read, or the folder has checkpoints already or cannot be written.
    """
    saved, run = checkpoint.load(Path(source)), Path(run)
    if run.is_file() or (run.is_dir() and checkpoint.steps(run)):
        raise UserError(f"{run} is a file or has checkpoints already: choose a new folder")
    step = checkpoint.save(run, saved.step, params=saved.weights, config=saved.config)
    return [_summary(saved), f"wrote {step}"]


def _summary(saved: checkpoint.Checkpoint) -> str:
    parameters = sum(array.size for array in saved.weights.values())
    return f"{saved.config['model']['name']}: {parameters:,} parameters, step {saved.step:,}"


def describe(contents: Contents) -> list[str]:
    """What was recognised, the network, its configuration and its training state, in lines."""
    fields = ", ".join(f"{name} {value}" for name, value in contents.model.items() if name != "name")
    parameters = sum(array.size for array in contents.weights.values())
    state = f"Adam state after {contents.adam.count:,} updates" if contents.adam else "no Adam state"
    rate = "unknown" if contents.learning_rate is None else f"{contents.learning_rate:g}"
    return [
        *([", ".join(contents.recognised)] if contents.recognised else []),
        f"{contents.model['name']}: {fields}",
        f"{parameters:,} parameters, step {contents.step:,}, learning rate {rate}, {state}",
        *not_finite("weight", contents.weights),
        *not_finite("averaged weight", contents.average or {}),
        *not_finite("first moment", contents.adam.mu if contents.adam else {}),
        *not_finite("second moment", contents.adam.nu if contents.adam else {}),
    ]


def not_finite(what: str, arrays: Arrays) -> list[str]:
    """A line that counts the values that are no numbers, and names the first array that has one."""
    counts = {name: int(np.sum(~np.isfinite(array))) for name, array in arrays.items()}
    names = [name for name, count in counts.items() if count]
    if not names:
        return []
    return [f"warning: NaN or infinite in {sum(counts.values()):,} {what}s, the first of {names[0]}"]


def _with_lengths(contents: Contents, model: dict) -> tuple[Contents, str]:
    weights = length.with_lengths(contents.weights, contents.model, model)
    average = length.with_lengths(contents.average, contents.model, model) if contents.average else None
    changed = dataclasses.replace(contents, model=model, weights=weights, average=average)
    line = f"l_max is now {model['l_max']}; largest difference of the output {output_difference(contents, changed):.1e}"
    return changed, line


def output_difference(first: Contents, second: Contents) -> float:
    """The largest difference of the two networks' outputs on a clip of noise, at a middle diffusion step if any."""
    one, other = (_output(contents) for contents in (first, second))
    return float(np.max(np.abs(one - other)))


def _output(contents: Contents) -> np.ndarray:
    config, weights = config_of(contents), {name: np.asarray(value) for name, value in contents.weights.items()}
    if config.model.name == "sashimi_ar":
        tokens = np.random.default_rng(0).integers(LEVELS, size=(1, config.model.length))
        return AutoregressiveGenerator(config, weights).logits(tokens)
    generator = Generator(config, weights)
    x = jax.random.normal(jax.random.key(0), (1, generator.length))
    return np.asarray(generator.predict_noise(x, jnp.asarray([generator.diffusion.num_steps // 2])))
