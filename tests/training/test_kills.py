"""A run that is killed ends where one ends that never was; `make torture` kills again and again."""

import numpy as np

from tests.helpers.runs import killed_again_and_again, saved, tiny_config

STEPS = 9


def test_a_kill_leaves_no_trace(clips, processes, tmp_path):
    config = tiny_config(clips, num_steps=STEPS, checkpoint_every=1, log_every=3, keep=2)
    config.model.update(n_layers=1, channels=4)
    killed_again_and_again(processes, config, tmp_path, kills=1)
    whole, killed = saved(tmp_path / "whole", STEPS), saved(tmp_path / "killed", STEPS)
    assert whole.keys() == killed.keys()
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)
