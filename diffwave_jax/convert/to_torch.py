"""Our checkpoint to one that the original's code loads."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from diffwave_jax.convert import mapping
from diffwave_jax.convert.contents import ADAM_HYPERPARAMETERS, Adam, Arrays, Contents
from diffwave_jax.convert.infer import LMNT_DIFFWAVE, layout_of
from diffwave_jax.convert.ours import config_of
from diffwave_jax.convert.recipes import lmnt_params
from diffwave_jax.convert.torch_writer import write_checkpoint
from diffwave_jax.errors import UserError
from diffwave_jax.models import DiffWaveConfig, NetworkConfig, model_config

# What torch.optim.Adam saves about itself beside its learning rate and parameters.
ADAM_OPTIONS = {
    **ADAM_HYPERPARAMETERS,
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
}
ADAM_LEARNING_RATE = 2e-4  # the original's, where a checkpoint does not say


def write_torch(path: str | os.PathLike, contents: Contents) -> None:
    """Writes `{model_state_dict, optimizer_state_dict (if any), steps, lr}` in PyTorch's zip format.

    A network of lmnt-com/diffwave becomes what that code saves, `{step, model, optimizer, params, scaler}`.

    Args:
      path: the file; it appears only when it is complete.
      contents: a network that the original knows: unconditional, with one even l_max (see `length.single_length`).

    Raises:
      UserError: the original does not know such a network, or the file cannot be written.
    """
    _check_known(contents.model)
    tensors = mapping.tensors(contents.model)
    layout = layout_of([tensor.torch_name for tensor in tensors])
    state = {layout.prefix + tensor.torch_name: _value(tensor, contents.weights) for tensor in tensors}
    parameters = [tensor for tensor in tensors if not tensor.l_max]
    adam = None if contents.adam is None else _adam(contents.adam, contents.learning_rate, parameters)
    if layout is LMNT_DIFFWAVE:
        params = lmnt_params(config_of(contents), contents.learning_rate or ADAM_LEARNING_RATE)
        file = {"step": contents.step, "model": state, "optimizer": adam or {}, "params": params, "scaler": {}}
        write_checkpoint(path, file)
        return
    saved: dict[str, Any] = {"model_state_dict": state}
    if adam is not None:
        saved["optimizer_state_dict"] = adam
    saved["steps"] = contents.step
    if contents.learning_rate is not None:
        saved["lr"] = contents.learning_rate
    write_checkpoint(path, saved)


def _check_known(model: Mapping) -> None:
    if model.get("n_classes"):
        raise UserError(f"the original has no class-conditional network, this one has {model['n_classes']} classes")
    if model.get("output_taps"):
        raise UserError("the original has no convolution after its last stage, this network has output_taps")
    _check_diffwave(model_config(model))
    for field in ("n_layers", "l_max"):
        value = model.get(field)
        if isinstance(value, tuple | list) and len(set(value)) > 1 and not _has_own_lengths(model, field):
            raise UserError(f"the original has one {field} for all stages, this network has {tuple(value)}")
    if not _has_own_lengths(model, "l_max") and any(l_max % 2 for l_max in mapping.kernel_lengths(model).values()):
        raise UserError(f"the original needs an even l_max, this network has {model['l_max']}")


def _has_own_lengths(model: Mapping, field: str) -> bool:
    """Whether the original of this network has a kernel length of its own in every layer."""
    return field == "l_max" and model.get("version", 1) == 2


def _check_diffwave(config: NetworkConfig) -> None:
    """UserError for a DiffWave that mixes what each original has."""
    if not isinstance(config, DiffWaveConfig):
        return
    if config.weight_norm:
        wrong = config.step_table or (config.n_mels and config.shared_upsampler)
    else:
        own_upsamplers = config.n_mels and not (config.shared_upsampler and config.upsample == (16, 16))
        skips = config.skip_channels not in (0, config.channels)
        wrong = config.step_in_residual or not config.step_table or own_upsamplers or skips
    if wrong:
        raise UserError(
            "no original has such a DiffWave: lmnt's has no weight_norm nor step_in_residual, but a step_table and one "
            "shared_upsampler of (16, 16); the others' are the other way round"
        )


def _value(tensor: mapping.Tensor, weights: Arrays) -> np.ndarray:
    if not tensor.l_max:
        return tensor.to_torch(weights)
    if not tensor.torch_shape:
        return np.asarray(tensor.l_max, np.int64)
    return kernel_nodes(tensor.torch_name, tensor.l_max)


def kernel_nodes(name: str, l_max: int) -> np.ndarray:
    """The original's buffer `omega` or `z` (l_max // 2 + 1, 2) float32: roots of unity, or their bilinear transform."""
    omega = np.exp(-2j * np.pi * np.arange(l_max // 2 + 1) / l_max)
    # The original divides by 1 + omega in float32: its last node must round to the neighbour of -1, not to -1.
    omega[-1] = np.nextafter(np.float32(-1), np.float32(0))
    nodes = omega if name.endswith("omega") else 2 * (1 - omega) / (1 + omega)
    return np.stack([np.real(nodes), np.imag(nodes)], axis=-1).astype(np.float32)


def _adam(adam: Adam, learning_rate: float | None, parameters: list[mapping.Tensor]) -> dict:
    state = {
        number: {
            "step": np.asarray(adam.count, np.float32),
            "exp_avg": tensor.to_torch(adam.mu),
            "exp_avg_sq": tensor.to_torch(adam.nu),
        }
        for number, tensor in enumerate(parameters)
        if np.any(tensor.to_torch(adam.nu))  # PyTorch has no state for a parameter that never had a gradient
    }
    group = {"lr": learning_rate or ADAM_LEARNING_RATE, **ADAM_OPTIONS, "params": list(range(len(parameters)))}
    return {"state": state, "param_groups": [group]}
