"""The networks, and how to build one from a config."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import nnx
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.models.autoregressive import AutoregressiveSaShiMi, AutoregressiveSaShiMiConfig
from diffwave_jax.models.classifier import Classifier, ClassifierConfig
from diffwave_jax.models.diffwave import DiffWave, DiffWaveConfig
from diffwave_jax.models.sashimi import SaShiMi, SaShiMiConfig

__all__ = [
    "AutoregressiveSaShiMi",
    "AutoregressiveSaShiMiConfig",
    "Classifier",
    "ClassifierConfig",
    "DiffWave",
    "DiffWaveConfig",
    "SaShiMi",
    "SaShiMiConfig",
    "build",
    "model_config",
]

NETWORKS = {
    "classifier": (Classifier, ClassifierConfig),
    "diffwave": (DiffWave, DiffWaveConfig),
    "sashimi": (SaShiMi, SaShiMiConfig),
    "sashimi_ar": (AutoregressiveSaShiMi, AutoregressiveSaShiMiConfig),
}


Network = AutoregressiveSaShiMi | Classifier | DiffWave | SaShiMi
NetworkConfig = AutoregressiveSaShiMiConfig | ClassifierConfig | DiffWaveConfig | SaShiMiConfig


def model_config(fields: Mapping[str, Any] | ConfigDict) -> NetworkConfig:
    """The typed configuration of a config's `model` section.

    Args:
      fields: `name` (one of `NETWORKS`) and any fields of that network's config.

    Raises:
      UserError: an unknown name, an unknown field or a bad value.
    """
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    name = fields.pop("name", None)
    if name not in NETWORKS:
        raise UserError(f"model.name must be one of {sorted(NETWORKS)}, got {name!r}")
    config_class = NETWORKS[name][1]
    known = [field.name for field in dataclasses.fields(config_class)]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise UserError(f"unknown model field {unknown[0]!r} for {name}: known fields are {', '.join(known)}")
    try:
        return config_class(**fields)
    except (TypeError, ValueError) as error:
        raise UserError(f"model config of {name}: {error}") from error


def build(fields: Mapping[str, Any] | ConfigDict, *, rngs: nnx.Rngs) -> Network:
    """A freshly initialised network for a config's `model` section; see `model_config` for the errors."""
    config = model_config(fields)
    return NETWORKS[fields["name"]][0](config, rngs=rngs)
