"""Configs with something wrong in them."""

import copy
import random

VALUES = (-5, 0, 10**12, 0.5, -1e30, float("nan"), "x", "", "\n", None, True, {}, {"a": 1}, [], [1, "x"], [[1], [2]])


def mutated(config: dict, draw: random.Random) -> dict:
    """A copy of a config as plain data with one to three fields replaced, renamed or taken out."""
    config = copy.deepcopy(config)
    for _ in range(draw.randint(1, 3)):
        section = draw.choice([name for name in config if isinstance(config[name], dict) and config[name]])
        target = config if draw.random() < 0.1 else config[section]
        field = draw.choice(sorted(target))
        how = draw.random()
        if how < 0.1:
            del target[field]
        elif how < 0.2:
            target[f"{field}s"] = target.pop(field)
        else:
            target[field] = draw.choice(VALUES)
    return config
