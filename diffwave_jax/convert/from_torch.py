"""A checkpoint of the original's `train.py` to ours."""

import os
from collections.abc import Mapping

import jax
import numpy as np

from diffwave_jax.convert import mapping
from diffwave_jax.convert.contents import ADAM_HYPERPARAMETERS, Adam, Contents
from diffwave_jax.convert.infer import infer_model
from diffwave_jax.convert.torch_pickle import TensorReference
from diffwave_jax.convert.torch_reader import TorchFile, open_checkpoint
from diffwave_jax.errors import UserError

PREFIX = "sashimi."  # of every name in a SaShiMi's checkpoint


def read_torch(
    path: str | os.PathLike,
    *,
    dilation_cycle: int | None = None,
    length: int | None = None,
    optimizer: bool = True,
) -> Contents:
    """Reads a checkpoint, zip or old format.

    Args:
      path: the file.
      dilation_cycle: DiffWave's, needed where the number of layers is not a published one.
      length: samples of a clip; None for what `infer_model` takes it to be.
      optimizer: read Adam's state too, where the file has it.

    Raises:
      UserError: the file cannot be read, or a tensor is missing, unknown or misshapen.
    """
    with open_checkpoint(path) as file:
        state_dict = _state_dict(file)
        model = infer_model(
            {name: tensor.shape for name, tensor in state_dict.items()}, dilation_cycle=dilation_cycle, length=length
        )
        tensors = {tensor.torch_name: tensor for tensor in mapping.tensors(model)}
        _check(file, state_dict, tensors)
        parameters = [tensors[name] for name in state_dict if not tensors[name].l_max]
        return Contents(
            model=model,
            weights={
                tensor.name: _on_host(tensor.to_ours(file.read(state_dict[tensor.torch_name]))) for tensor in parameters
            },
            step=_number(file, "steps", int, 0),
            learning_rate=_number(file, "lr", float, None),
            adam=_adam(file, parameters) if optimizer else None,
        )


def _state_dict(file: TorchFile) -> dict[str, TensorReference]:
    """The `model_state_dict` without SaShiMi's prefix."""
    found = file.content.get("model_state_dict") if isinstance(file.content, dict) else None
    if not isinstance(found, dict):
        held = ", ".join(repr(key) for key in list(file.content)[:5]) if isinstance(file.content, dict) else "no dict"
        raise UserError(
            f"{file.path} has no model_state_dict (found {held}): give a checkpoint of the original's train.py"
        )
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, TensorReference):
            raise UserError(f"{file.path}: model_state_dict[{name!r}] is not a named tensor; the file is damaged")
    prefix = PREFIX if any(name.startswith(PREFIX) for name in found) else ""
    stripped = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    if len(stripped) < len(found):
        raise UserError(f"{file.path} names a tensor both with and without {PREFIX!r}; the file is damaged")
    return stripped


def _check(file: TorchFile, found: Mapping[str, TensorReference], expected: Mapping[str, mapping.Tensor]) -> None:
    """UserError that names a missing, misshapen or unknown tensor, with what was expected."""
    for name, tensor in expected.items():
        if name not in found:
            raise UserError(f"{file.path} lacks the tensor {name}, expected with shape {tensor.torch_shape}")
        if found[name].shape != tensor.torch_shape or found[name].storage.dtype != "float32":
            raise UserError(
                f"{file.path}: the tensor {name} is {found[name].storage.dtype} {found[name].shape}, "
                f"expected float32 {tensor.torch_shape}"
            )
    for name in found:
        if name not in expected:
            raise UserError(f"{file.path} has a tensor {name!r} that the original's network does not have")


def _number(file: TorchFile, key: str, kind: type, default: float | None) -> float | None:
    value = file.content.get(key)
    if value is None:
        return default
    if not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise UserError(f"{file.path}: {key} is {_shown(value)}, expected a number; the file is damaged")
    return kind(value)


def _adam(file: TorchFile, parameters: list[mapping.Tensor]) -> Adam | None:
    """Adam's state; it numbers the parameters in the order of the `state_dict`."""
    saved = file.content.get("optimizer_state_dict")
    if saved is None:
        return None
    state, numbers = _adam_state(file, saved, len(parameters))
    moments = {"exp_avg": {}, "exp_avg_sq": {}}
    counts = set()
    for number, tensor in zip(numbers, parameters, strict=True):
        # A parameter that never had a gradient has no state: Adam will not have moved it, as zero moments do not.
        entry = state.get(number)
        for key, into in moments.items():
            into[tensor.name] = _on_host(tensor.to_ours(_moment(file, entry, key, tensor)))
        if entry is not None:
            counts.add(_count(file, entry))
    if len(counts) > 1:
        raise UserError(f"{file.path}: parameters with different numbers of updates: {sorted(counts)[:5]}")
    return Adam(counts.pop() if counts else 0, moments["exp_avg"], moments["exp_avg_sq"])


def _adam_state(file: TorchFile, saved: object, n_parameters: int) -> tuple[dict, list[int]]:
    match saved:
        case {"state": dict(state), "param_groups": [dict(group)]} if isinstance(group.get("params"), list):
            numbers = group["params"]
        case _:
            raise UserError(f"{file.path}: optimizer_state_dict is not Adam's; convert with --weights-only")
    for name, expected in ADAM_HYPERPARAMETERS.items():
        if group.get(name, expected) != expected:
            raise UserError(
                f"{file.path}: Adam's {name} is {_shown(group[name])}, the original's is {expected!r}; "
                "convert with --weights-only"
            )
    if len(numbers) != n_parameters or not all(isinstance(number, int) for number in numbers):
        raise UserError(
            f"{file.path}: optimizer state for {len(numbers)} parameters, expected {n_parameters}; "
            "convert with --weights-only"
        )
    return state, numbers


def _moment(file: TorchFile, entry: object, key: str, tensor: mapping.Tensor) -> np.ndarray:
    if entry is None:
        return np.zeros(tensor.torch_shape, np.float32)
    moment = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(moment, TensorReference):
        raise UserError(f"{file.path}: Adam's {key} of {tensor.torch_name} is missing; convert with --weights-only")
    if moment.shape != tensor.torch_shape or moment.storage.dtype != "float32":
        raise UserError(
            f"{file.path}: Adam's {key} of {tensor.torch_name} is {moment.storage.dtype} {moment.shape}, "
            f"expected float32 {tensor.torch_shape}; convert with --weights-only"
        )
    return file.read(moment)


def _count(file: TorchFile, entry: dict) -> int:
    """Updates done: a number in old files, a scalar tensor in new ones."""
    step = entry.get("step")
    if isinstance(step, TensorReference) and step.shape == ():
        step = file.read(step).item()
    if not isinstance(step, int | float) or not 0 <= step < 2**31 or step != int(step):
        raise UserError(
            f"{file.path}: Adam's step is {_shown(step)}, expected a whole number; convert with --weights-only"
        )
    return int(step)


def _shown(value: object) -> str:
    """The value for a message; a container might be endless."""
    return f"a {type(value).__name__}" if isinstance(value, dict | list) else f"{value!r:.60}"


def _on_host(array: np.ndarray) -> jax.Array:
    """JAX's arrays are written to a checkpoint without the copy that NumPy's are."""
    return jax.device_put(array, jax.local_devices(backend="cpu")[0])
