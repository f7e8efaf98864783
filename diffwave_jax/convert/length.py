"""Equal checkpoints for other kernel lengths: the length correction of C taken off and put on again, in float64.

A stored C is `(I - dA^l_max)^T C'` with the true C' (S4, arXiv 2111.00396, section 3.2). The released SaShiMi models
use one l_max at every stage; a stage that runs on fewer samples computes the same outputs from a shorter l_max.
"""

from collections.abc import Mapping

import numpy as np

from diffwave_jax.convert.contents import Arrays
from diffwave_jax.convert.mapping import kernel_lengths
from diffwave_jax.errors import UserError
from diffwave_jax.models import SaShiMiConfig, model_config
from diffwave_jax.models.hippo import bilinear

HEADS_AT_ONCE = 64  # of N x N matrices each


def per_stage(model: Mapping) -> dict:
    """The `model` section with each stage's l_max cut to the samples that it runs on.

    Raises:
      UserError: the model has no S4 kernels.
    """
    config = model_config(model)
    if not isinstance(config, SaShiMiConfig):
        raise UserError("--per-stage-length is for SaShiMi, whose S4 kernels have a length: this is a DiffWave")
    return {**model, "l_max": config.stage_lengths(config.length)}


def single_length(model: Mapping) -> dict:
    """The `model` section with the largest l_max at every stage, as the original knows it."""
    l_max = model.get("l_max", 0)
    return {**model, "l_max": max(l_max)} if isinstance(l_max, tuple | list) else dict(model)


def with_lengths(weights: Arrays, old: Mapping, new: Mapping) -> Arrays:
    """The weights of model section `old` for `new`, which differs in l_max alone: C of the S4 kernels is recomputed.

    Kernels truncated to the shorter length agree; the float32 storage of C is the only rounding.
    """
    changed = dict(weights)
    new_lengths = kernel_lengths(new)
    for kernel, old_length in kernel_lengths(old).items():
        if new_lengths[kernel] != old_length:
            parameters = {name: weights[f"{kernel}.{name}"] for name in ("log_dt", "log_w_real", "w_imag", "P", "C")}
            changed[f"{kernel}.C"] = corrected_C(**parameters, old_length=old_length, new_length=new_lengths[kernel])
    return changed


def corrected_C(*, log_dt, log_w_real, w_imag, P, C, old_length: int, new_length: int) -> np.ndarray:
    """C (D, H, M, 2) float32 of one S4 kernel, corrected for `new_length` instead of `old_length`.

    Args:
      log_dt: (H,) log step sizes.
      log_w_real, w_imag: (S, M) eigenvalues, S = H or 1.
      P: (S, M, 2) low-rank vectors.
      C: (D, H, M, 2) for `old_length`.
      old_length, new_length: l_max.
    """
    # With a pair's state x = a + i b, (a, b) is a real state whose output 2 Re(C x) is 2 (C_re, -C_im).(a, b).
    rows = np.concatenate([C[..., 0], -C[..., 1]], axis=-1, dtype=np.float64).swapaxes(0, 1)
    A = _state_matrices(log_w_real, w_imag, P)
    changed = np.empty_like(rows)
    for start in range(0, len(rows), HEADS_AT_ONCE):
        heads = slice(start, start + HEADS_AT_ONCE)
        dA = bilinear(A if len(A) == 1 else A[heads], np.exp(np.asarray(log_dt[heads], np.float64)))
        changed[heads] = _change(rows[heads], dA, old_length, new_length)
    real, imaginary = np.split(changed.swapaxes(0, 1), 2, axis=-1)
    return np.stack([real, -imaginary], axis=-1).astype(np.float32)


def _state_matrices(log_w_real: np.ndarray, w_imag: np.ndarray, P: np.ndarray) -> np.ndarray:
    """`diag(w) - P P^*` (S, 2M, 2M), acting on the real and imaginary parts of the states."""
    w_real = _diagonal(-np.exp(np.asarray(log_w_real, np.float64)))
    w_imaginary = _diagonal(np.asarray(w_imag, np.float64))
    P = np.asarray(P, np.float64).swapaxes(-1, -2).reshape(len(P), -1, 1)  # (S, 2M, 1): real parts, imaginary parts
    return np.block([[w_real, -w_imaginary], [w_imaginary, w_real]]) - 2 * P @ P.swapaxes(-1, -2)


def _diagonal(values: np.ndarray) -> np.ndarray:
    return values[..., None] * np.eye(values.shape[-1])


def _change(rows: np.ndarray, dA: np.ndarray, old_length: int, new_length: int) -> np.ndarray:
    """`rows (I - dA^old)^-1 (I - dA^new)` for rows (H, D, N)."""
    shorter, longer = sorted((old_length, new_length))
    power = {shorter: np.linalg.matrix_power(dA, shorter)}
    power[longer] = np.linalg.matrix_power(power[shorter], longer // shorter)
    if longer % shorter:
        power[longer] = power[longer] @ np.linalg.matrix_power(dA, longer % shorter)
    identity = np.eye(dA.shape[-1])
    true = np.linalg.solve((identity - power[old_length]).swapaxes(-1, -2), rows.swapaxes(-1, -2)).swapaxes(-1, -2)
    return true @ (identity - power[new_length])
