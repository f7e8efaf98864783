"""Equal checkpoints for other kernel lengths: the length correction of C taken off and put on again, in float64.

A stored C is `(I - dA^l_max)^T C'` with the true C' (S4, arXiv 2111.00396, section 3.2). The released SaShiMi models
use one l_max at every stage; a stage that runs on fewer samples computes the same outputs from a shorter l_max.
"""

from collections.abc import Mapping

import numpy as np
from flax import nnx

from diffwave_jax.convert.contents import Arrays
from diffwave_jax.convert.mapping import kernel_lengths
from diffwave_jax.errors import UserError
from diffwave_jax.kernels.truncation import with_length
from diffwave_jax.models import build, model_config
from diffwave_jax.models.backbone import Backbone, BackboneConfig, S4Block
from diffwave_jax.models.state_space import pairs, state_space


def per_stage(model: Mapping) -> dict:
    """The `model` section with each stage's l_max cut to the samples that it runs on.

    Raises:
      UserError: the model has no S4 kernels.
    """
    config = model_config(model)
    if not isinstance(config, BackboneConfig):
        raise UserError(f"--per-stage-length is for a SaShiMi's S4 kernels: this is a {model['name']}")
    return {**model, "l_max": config.stage_lengths(config.length)}


def single_length(model: Mapping) -> dict:
    """The `model` section with the largest l_max at every stage, as the original knows it."""
    l_max = model.get("l_max", 0) if model.get("version", 1) == 1 else 0
    return {**model, "l_max": max(l_max)} if isinstance(l_max, tuple | list) else dict(model)


def with_lengths(weights: Arrays, old: Mapping, new: Mapping) -> Arrays:
    """The weights of model section `old` for `new`, which differs in l_max alone: C of the S4 kernels is recomputed.

    Kernels truncated to the shorter length agree; the float32 storage of C is the only rounding.
    """
    changed = dict(weights)
    new_lengths = _lengths(new)
    for kernel, old_length in _lengths(old).items():
        if new_lengths[kernel] != old_length:
            prefix = f"{kernel}."
            parts = {name.removeprefix(prefix): np.asarray(x) for name, x in weights.items() if name.startswith(prefix)}
            ssm = state_space(parts)
            c = with_length(ssm.dt, ssm.w, ssm.p, ssm.c, old_length, new_lengths[kernel], q=ssm.q)
            changed[f"{prefix}C"] = pairs(c).astype(np.float32)
    return changed


def _lengths(model: Mapping) -> dict[str, int]:
    """{name of an S4 kernel: its l_max}."""
    if model["name"] == "sashimi":
        return kernel_lengths(model)
    network = nnx.eval_shape(lambda: build(model, rngs=nnx.Rngs(0)))
    assert isinstance(network, Backbone)
    groups = {"down": network.down, "center": network.center, "up": network.up}
    return {
        f"{group}.{number}.s4.kernel": layer.s4.kernel.l_max
        for group, layers in groups.items()
        for number, layer in enumerate(layers)
        if isinstance(layer, S4Block)
    }
