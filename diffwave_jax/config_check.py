"""Whether a config makes sense, looked at before any work is done."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ml_collections import ConfigDict

from diffwave_jax.config_rules import NETWORK, OPTIONAL, RULES, Rule, network_rules
from diffwave_jax.errors import UserError
from diffwave_jax.models import NETWORKS, model_config


class UnknownField(UserError):
    """A field that no config has: a slip, or one that newer code writes."""


def check_config(config: ConfigDict) -> None:
    """Refuses a config with an unknown field, a value of the wrong kind, or one out of its range.

    Raises:
      UserError: the first such field, with what it holds and what it may hold.
    """
    check_kinds(config)
    for name, rule in RULES.items():
        value = _value(config, name)
        if value is not None and not rule.in_range(value):
            raise _wrong(name, value, rule)
    model_config(config.model)
    if config.diffusion.beta_min > config.diffusion.beta_max:
        ends = f"diffusion.beta_min is {config.diffusion.beta_min} and diffusion.beta_max {config.diffusion.beta_max}"
        raise UserError(f"{ends}: the first must not be above the second")


def check_kinds(config: ConfigDict) -> None:
    """As `check_config`, without ranges: what a checkpoint of older code, which checked less, may fail is a kind.

    Raises:
      UnknownField: a field that this code does not know.
      UserError: a field is missing or holds a value of the wrong kind.
    """
    name = _value(config, "model.name")
    if not isinstance(name, str) or name not in NETWORKS:
        raise _wrong("model.name", name, NETWORK)
    rules = RULES | network_rules(name)
    _check_names(config, rules)
    for name, rule in rules.items():
        value = _value(config, name)
        if not (rule.is_kind(value) or (value is None and name in OPTIONAL)):
            raise _wrong(name, value, rule)


def _check_names(config: ConfigDict, rules: Mapping[str, Rule]) -> None:
    sections = {name.partition(".")[0] for name in rules}
    for section, values in config.items():
        if section not in sections:
            raise UnknownField(unknown(section, sections))
        for field in values if isinstance(values, ConfigDict) else ():
            if f"{section}.{field}" not in rules:
                raise UnknownField(unknown(f"{section}.{field}", rules))


def unknown(name: str, known: Iterable[str]) -> str:
    """The line that says that there is no field `name` among the `known` ones, with the likeliest that is meant."""
    section, _, field = name.rpartition(".")
    fields = [other.rpartition(".")[2] for other in known if other.rpartition(".")[0] == section]
    close = difflib.get_close_matches(field, fields, 1) or difflib.get_close_matches(field, fields, 1, 0.4)
    meant = (
        f"did you mean {f'{section}.' if section else ''}{close[0]}?" if close else "diffwave_jax/config.py lists all"
    )
    return f"unknown config field {name}: {meant}"


def _value(config: ConfigDict, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(config, ConfigDict) or part not in config:
            raise UserError(f"the config has no {name}: start from diffwave_jax.config.default_config()")
        config = config[part]
    return config


def _wrong(name: str, value: object, rule: Rule) -> UserError:
    shown = repr(value)
    return UserError(f"{name} is {shown if len(shown) <= 60 else f'{shown[:60]}...'}; it must be {rule.words}")
