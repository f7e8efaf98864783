"""Runs that are killed, partners that are killed, previews by the hundred, configs with something wrong in them."""

import os
import random
import time

import numpy as np
import psutil
import pytest

from diffwave_jax.config import from_dict, to_dict
from diffwave_jax.errors import UserError
from diffwave_jax.training.listener import Listener
from diffwave_jax.training.loop import Run
from tests.helpers.mutations import mutated
from tests.helpers.pairs import Pair
from tests.helpers.runs import Processes, killed_again_and_again, saved, tiny_config, write_clips
from tests.torture import share

pytestmark = pytest.mark.torture


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("torture") / "clips")


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    return Processes(tmp_path_factory.mktemp("compiled"))


def _assert_same(killed, whole):
    assert whole.keys() == killed.keys()
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)


def test_thirty_kills_leave_no_trace(clips, processes, tmp_path):
    config = tiny_config(clips, num_steps=150, checkpoint_every=1, log_every=10, keep=2)
    config.model.update(n_layers=1, channels=4)
    since = time.monotonic()
    killed_again_and_again(processes, config, tmp_path, kills=share(30))
    _assert_same(saved(tmp_path / "killed", 150), saved(tmp_path / "whole", 150))
    print(f"{share(30)} kills: the same bits after {time.monotonic() - since:.0f} s")


def test_ten_killed_partners_are_named_and_the_pair_continues(clips, processes, tmp_path):
    pair, draw, waits = Pair(clips, tmp_path, processes, num_steps=300, checkpoint_every=10), random.Random(0), []
    for number in range(share(10)):
        victim, survivor = draw.sample((0, 1), 2)
        pair.start()
        pair.wait_for_step()
        time.sleep(draw.uniform(0, 1))
        waits.append(pair.kill(victim, survivor))
        print(f"kill {number}: process {victim}, the other ended after {waits[-1]:.2f} s")
    pair.start()
    assert pair.end() == [0, 0]
    whole = Pair(clips, tmp_path / "whole", processes, num_steps=300, checkpoint_every=10)
    whole.start()
    assert whole.end() == [0, 0]
    _assert_same(saved(pair.workdir, 300), saved(whole.workdir, 300))
    print(f"ended after {min(waits):.2f} to {max(waits):.2f} s")


def test_memory_is_flat_over_a_hundred_previews(clips, tmp_path):
    last = max(share(100), 30)
    config = tiny_config(clips, "sashimi", num_steps=last, sample_every=1)
    config.sample.update(steps=2, sampler="ddim")
    process, used = psutil.Process(os.getpid()), {}

    class Memory(Listener):
        def clips(self, step, audio, sample_rate):
            used[step] = process.memory_info().rss / 1e6

    Run(config, tmp_path / "run", [Memory()]).train()
    print("MB after so many previews:", {step: round(used[step]) for step in (1, 10, 20, last // 2, last)})
    assert used[last] - used[20] < 40  # a preview's programs and weights, kept, would be more than 1 MB each


def test_three_hundred_mutated_configs(clips, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a mutated config may name folders of its own
    config, draw, refused = tiny_config(clips), random.Random(0), 0
    for number in range(share(300)):
        try:
            Run(from_dict(mutated(to_dict(config), draw)), tmp_path / str(number))
        except UserError as error:
            refused += 1
            assert "\n" not in str(error)
    print(f"{refused} of {share(300)} refused")
    assert refused > share(150)
