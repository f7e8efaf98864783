"""A run that is killed again and again ends where one ends that never was."""

import random
import signal

import numpy as np

from tests.helpers.runs import Job, Signals, saved, tiny_config

STEPS, KILLS = 100, 20


def test_twenty_kills_leave_no_trace(clips, processes, tmp_path):
    config = tiny_config(clips, num_steps=STEPS, checkpoint_every=1, log_every=10, keep=2)
    config.model.update(n_layers=1, channels=4)
    assert processes.train(Job(config, tmp_path / "whole"))[0][0] == 0
    step, draw = 0, random.Random(0)
    for _ in range(KILLS):
        # Up to 20 ms after a step: in the next one, or while its checkpoint or the one before is being written.
        kill = Signals(step + draw.randint(2, 5), signal.SIGKILL, delay=draw.uniform(0, 0.02))
        [(code, _)] = processes.train(Job(config, tmp_path / "killed", listeners=(kill,)))
        assert code == -signal.SIGKILL
        names = [path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()]
        step = max([int(name) for name in names if name.isdecimal()], default=0)
    assert step > KILLS  # the checkpoints between the kills were used
    [(code, last)] = processes.train(Job(config, tmp_path / "killed"))
    assert code == 0 and last.messages == [f"continuing from step {step}"]
    whole, killed = saved(tmp_path / "whole", STEPS), saved(tmp_path / "killed", STEPS)
    assert whole.keys() == killed.keys()
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)
