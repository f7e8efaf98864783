"""What a command's `--help` prints; for training its flags, and the fields of the config."""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict

from diffwave_jax.config import default_config, model_section
from diffwave_jax.models import NETWORKS

INDENT = 28
WIDTH = 110


def flag_help(module: str) -> str:
    """The flags of a command's module and the fields of the config that `--config` names, or of all configs."""
    script = flags.FLAGS.get_key_flags_for_module(module)
    lines = [in_words(sys.modules[module].__doc__ or ""), "flags:"]
    lines += [_flag(flag) for flag in script if "." not in flag.name]
    config = flags.FLAGS["config"].value
    if config is not None:
        return "\n".join([*lines, "", "fields of the config, with their values:", *_fields(config)])
    lines += ["", "fields of every config, with their defaults:", *_fields(default_config())]
    for name in NETWORKS:
        model = ConfigDict({"model": model_section(name)})
        lines += ["", f"fields of a config whose network is {name}, with their defaults:", *_fields(model)]
    return "\n".join(lines)


def in_words(text: str) -> str:
    """A command's description, with the command as it was started in the place of how a clone starts it."""
    name = Path(sys.argv[0]).name
    return text if name.endswith(".py") else re.sub(r"python (\w+\.py|-m diffwave_jax \w+)", name, text)


def _flag(flag: flags.Flag) -> str:
    value = "" if flag.boolean else f" {flag.flag_type().split()[0].upper()}" if flag.name != "config" else " FILE"
    head = f"  --{flag.name.replace('_', '-')}{value}".ljust(INDENT)
    return textwrap.fill(flag.help, WIDTH, initial_indent=head, subsequent_indent=" " * INDENT)


def _fields(config: ConfigDict, prefix: str = "config") -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _fields(value, f"{prefix}.{name}")
        else:
            yield f"  --{prefix}.{name}={value}"
