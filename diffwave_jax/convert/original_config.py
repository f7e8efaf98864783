"""What the originals' own configurations say: a checkpoint's `params`, a JSON file, or the name of its folder."""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from diffwave_jax.errors import UserError

LMNT, PHILSYN, GU = "lmnt-com/diffwave", "philsyn/DiffWave-Vocoder", "albertfgu/diffwave-sashimi"
# Where the originals keep their settings; the first that has a name counts.
SECTIONS = (
    *("params", "diffusion_config", "diffusion", "wavenet_config", "model"),
    *("trainset_config", "mel_config", "dataset"),
)
NAMED = re.compile(r"_T(\d{1,5})_betaT(0?\.\d{1,9})")  # in the names of their folders
MAX_STEPS = 100_000
MAX_FILE = 2**20


class OriginalConfig(NamedTuple):
    """Settings under the originals' names.

    Attributes:
      values: {name: value}, all sections together.
      system: whose they are, None where nothing tells.
    """

    values: Mapping[str, Any]
    system: str | None = None

    def number(self, *names: str) -> float | None:
        """The first of the names that has a number from 0 on, None where none has; UserError for something else."""
        for name in names:
            value = self.values.get(name)
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                    raise UserError(f"the original's configuration has {name} {value!r:.60}, no number from 0 on")
                return value
        return None

    def whole(self, *names: str) -> int | None:
        """As `number`, for a whole number."""
        value = self.number(*names)
        if value is not None and value != int(value):
            raise UserError(f"the original's configuration has {names[0]} {value!r}, no whole number")
        return None if value is None else int(value)

    def number_or(self, default: float, *names: str) -> float:
        """As `number`, with what is usual where none has one."""
        value = self.number(*names)
        return default if value is None else value

    def whole_or(self, default: int, *names: str) -> int:
        """As `whole`, with what is usual where none has one."""
        value = self.whole(*names)
        return default if value is None else value


def of_checkpoint(params: object, path: str | os.PathLike, config: str | os.PathLike | None) -> OriginalConfig:
    """What is known of a checkpoint: its own `params`, the names of its file and folders, and a JSON file.

    Raises:
      UserError: the JSON file cannot be read.
    """
    told = _flat(read_json(config)) if config else OriginalConfig({})
    inside = _flat({"params": params}) if isinstance(params, Mapping) else OriginalConfig({})
    named = _of_name(Path(path).absolute())
    values = {**named.values, **told.values, **inside.values}
    return OriginalConfig(values, inside.system or told.system or named.system)


def read_json(path: str | os.PathLike) -> dict:
    """The object in a JSON file; UserError where it has none."""
    try:
        if Path(path).stat().st_size > MAX_FILE:
            raise UserError(f"{path} is larger than any configuration: give the original's own JSON file")
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: give the original's own configuration, such as config.json") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no settings by name: give the original's own configuration")
    return content


def _flat(content: Mapping) -> OriginalConfig:
    sections = [content, *(content.get(name) for name in SECTIONS)]
    values = {}
    for section in reversed([section for section in sections if isinstance(section, Mapping)]):
        values |= {name: value for name, value in section.items() if isinstance(name, str)}
    if "noise_schedule" in values or "residual_layers" in values:
        return OriginalConfig(values, LMNT)
    if "wavenet_config" in content:
        return OriginalConfig(values, PHILSYN)
    return OriginalConfig(values, GU if "_name_" in values else None)


def _of_name(path: Path) -> OriginalConfig:
    for folder in (path, *list(path.parents)[:4]):
        if found := NAMED.search(folder.name):
            system = PHILSYN if re.match(r"ch\d+_", folder.name) else GU
            hop = re.search(r"_hop(\d{1,5})", folder.name)
            values = {"T": int(found[1]), "beta_0": 1e-4, "beta_T": float(found[2])}
            return OriginalConfig(values | ({"hop_length": int(hop[1])} if hop else {}), system)
    return OriginalConfig({})


def diffusion_fields(original: OriginalConfig, what: str) -> dict:
    """The fields of the section `diffusion`.

    Raises:
      UserError: the number of steps is not known, or the schedule is not linear.
    """
    schedule = original.values.get("noise_schedule")
    if schedule is not None:
        return _of_schedule(schedule)
    steps = original.whole("T")
    if steps is None:
        raise UserError(
            f"{what}: neither the file nor its name says how many diffusion steps it was trained with; give "
            'its own configuration by --config FILE.json, or one such as {"T": 50, "beta_0": 0.0001, "beta_T": 0.05}'
        )
    low, high = original.number_or(1e-4, "beta_0"), original.number_or(0.02 if steps > 50 else 0.05, "beta_T")
    return {"num_steps": min(max(steps, 1), MAX_STEPS), "beta_min": low, "beta_max": high}


def _of_schedule(schedule: object) -> dict:
    betas = list(schedule) if isinstance(schedule, list | tuple) else []
    if not (1 <= len(betas) <= MAX_STEPS and all(isinstance(beta, float | int) and 0 < beta < 1 for beta in betas)):
        raise UserError("the original's configuration has a noise_schedule that is not a list of variances below 1")
    steps, low, high = len(betas), betas[0], betas[-1]
    expected = [low + (high - low) * n / max(steps - 1, 1) for n in range(steps)]
    if any(abs(beta - line) > 1e-6 * high for beta, line in zip(betas, expected, strict=True)):
        raise UserError("the original's noise_schedule is not linear: only linear ones are converted")
    return {"num_steps": steps, "beta_min": float(low), "beta_max": float(high)}
