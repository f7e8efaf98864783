"""1,000 changed bytes, each in a checkpoint of its own: refused or without effect."""

import random

import pytest

from diffwave_jax.training.loop import Run
from tests.helpers.flips import flipped, loaded, resumed
from tests.helpers.runs import tiny_config, write_clips
from tests.torture import share

pytestmark = pytest.mark.torture


def test_a_thousand_changed_bytes(tmp_path):
    config = tiny_config(write_clips(tmp_path / "clips"), num_steps=2)
    config.model.update(n_layers=1, channels=4)
    Run(config, tmp_path / "run").train()
    step = tmp_path / "run" / "checkpoints" / "2"
    whole, draw, counts = {}, random.Random(0), {"refused": 0, "no effect": 0}
    ways = {"load": lambda: loaded(step), "resume": lambda: resumed(config, tmp_path / "run")}
    whole = {name: read() for name, read in ways.items()}
    assert None not in whole.values()
    for number in range(share(1000)):
        name = "resume" if number % 5 == 0 else "load"
        with flipped(step, draw) as change:
            found = ways[name]()
        assert found in (None, whole[name]), f"{name}: {change}"
        counts["refused" if found is None else "no effect"] += 1
    print(counts)
    assert counts["refused"] > share(300)  # the rest are files that reading does not need
