"""The repeated layers of a network, in order, and what kind each is."""

from collections.abc import Mapping
from typing import NamedTuple

from diffwave_jax.models import DiffWaveConfig, NetworkConfig, SaShiMiConfig, model_config


class Kind(NamedTuple):
    """What layers of equal shapes have in common.

    Attributes:
      group: the list that they are in: "blocks", or "down", "center", "up".
      stage: counted from the full rate down.
      block: "residual", or "s4", "ff", "pool".
    """

    group: str
    stage: int
    block: str


def layers(config: NetworkConfig) -> dict[str, Kind]:
    """{name of a layer, such as "down.3": its kind}, in the order in which data pass through them."""
    if isinstance(config, SaShiMiConfig):
        return _sashimi(config)
    if isinstance(config, DiffWaveConfig):
        return {f"blocks.{n}": Kind("blocks", 0, "residual") for n in range(config.n_layers)}
    return {}


def _sashimi(config: SaShiMiConfig) -> dict[str, Kind]:
    *outer, center = range(len(config.stage_layers))

    def pairs(group: str, stage: int) -> list[Kind]:
        return [Kind(group, stage, "s4"), Kind(group, stage, "ff")] * config.stage_layers[stage]

    groups = {
        "down": [k for s in outer for k in [*(pairs("down", s) if config.unet else []), Kind("down", s, "pool")]],
        "center": pairs("center", center),
        "up": [k for s in reversed(outer) for k in [Kind("up", s, "pool"), *pairs("up", s)]],
    }
    return {f"{group}.{n}": kind for group, kinds in groups.items() for n, kind in enumerate(kinds)}


def template(model: Mapping) -> tuple[dict, dict[Kind, str]]:
    """The `model` section of a network with one layer of each kind that `model` has, and that layer's name by kind."""
    config = model_config(model)
    small = dict(model)
    if isinstance(config, DiffWaveConfig):
        small["n_layers"] = min(config.n_layers, 1)
    elif isinstance(config, SaShiMiConfig):
        small["n_layers"] = tuple(min(n, 1) for n in config.stage_layers)
    names: dict[Kind, str] = {}
    for name, kind in layers(model_config(small)).items():
        names.setdefault(kind, name)
    return small, names
