"""What must not cost a run its work: listeners that fail, a full disk, damaged checkpoints, a second run, a thread."""

import gc
import json
import os
import random
import resource
import shutil
import threading

import numpy as np
import pytest

from diffwave_jax import digests
from diffwave_jax.errors import UserError
from diffwave_jax.training.listener import Listener, Listeners
from diffwave_jax.training.lock import check_unused, only_run
from diffwave_jax.training.loop import Run
from diffwave_jax.training.tensorboard import TensorBoard
from tests.helpers.events import curves
from tests.helpers.flips import flipped
from tests.helpers.runs import Recorder, resumed, saved, tiny_config


@pytest.fixture(scope="module")
def config(clips):
    config = tiny_config(clips, num_steps=4, checkpoint_every=2)
    config.model.update(n_layers=1, channels=4)
    return config.lock()


class Failing(Listener):
    """Fails at every step, as where its pipe is closed."""

    def step(self, step):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_listener_that_fails_is_told_once_and_the_run_and_the_others_go_on(config, tmp_path):
    recorder = Recorder()
    Run(config, tmp_path / "run", [Failing(), recorder]).train()
    assert recorder.steps == [0, 1, 2, 3, 4]
    line = "Failing failed and may miss what follows, training goes on: [Errno 32] Broken pipe"
    assert recorder.messages == [line]
    assert (tmp_path / "run" / "checkpoints" / "4").is_dir()


def test_listeners_hear_numbers(config, tmp_path):
    recorder = Recorder()
    Run(config, tmp_path / "run", [recorder]).train()
    assert all(type(value) is float for values in recorder.values.values() for value in values.values())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file that cannot be flushed
def test_tensorboard_on_a_full_disk_fails_at_once_and_writes_again_once_there_is_room(tmp_path):
    """The system's own refusal to write more than so many bytes a file stands for a full disk."""
    board, told = TensorBoard(tmp_path), Recorder()
    listeners = Listeners([board, told])
    listeners.step(0)
    listeners.scalars(1, {"loss": 1.0})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
    try:
        for step in (2, 3):
            listeners.scalars(step, {"loss": 1.0, "gradient_norm": 1.0, "learning_rate": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    listeners.scalars(4, {"loss": 4.0})
    listeners.end()
    gc.collect()  # the files that could not be flushed are closed here, with warnings
    [message] = told.messages
    assert message.startswith(f"TensorBoard failed and may miss what follows, training goes on: {tmp_path} cannot be")
    assert "File too large" in message
    newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    (tmp_path / "newest").mkdir()
    newest.rename(tmp_path / "newest" / newest.name)
    assert curves(tmp_path / "newest")["train/loss"] == {4: 4.0}


def test_clips_that_are_not_finite_are_left_out(config, tmp_path, monkeypatch):
    sampled = config.copy_and_resolve_references()
    with sampled.unlocked():
        sampled.train.sample_every = 2
    recorder = Recorder()
    run = Run(sampled, tmp_path / "run", [recorder])
    monkeypatch.setattr(run._preview, "clips", lambda params: np.full((1, 256), np.nan, np.float32))
    run.train()
    assert recorder.audio == {} and recorder.steps[-1] == 4
    assert recorder.messages == [f"the clips of step {n} are not finite: they are left out of the log" for n in (2, 4)]


class FullDisk(Listener):
    """From step 3 on, when everything is compiled and kept, no file may have more than 1500 bytes."""

    def step(self, step):
        if step == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_full_disk_is_one_line_and_older_checkpoints_stay(config, workdir, capfd):
    shutil.rmtree(workdir / "checkpoints" / "4")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    run = Run(config, workdir, [FullDisk()])
    capfd.readouterr()
    try:
        with pytest.raises(UserError, match=r"checkpoints/4 cannot be written \(File too large; .* MB free\)"):
            run.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    gc.collect()  # errors of other arrays, which nobody waits for any more, would be told here
    assert capfd.readouterr().err == ""
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["2"]
    assert resumed(config, workdir).messages == ["continuing from step 2"]


POSITIONS = [-5, "x", {}, {"next_index": -5}, {"next_index": "x"}, {"next": 3}, [], 10**30]


def test_damaged_data_positions_are_named_and_passed_over(config, whole, workdir):
    """Each in a checkpoint of its own, newer than the whole one: one run passes over all of them."""
    last = workdir / "checkpoints" / "4"
    steps = [last.with_name(str(4 + number)) for number in range(len(POSITIONS))]
    for step in steps[1:]:
        shutil.copytree(last, step)
    for step, position in zip(steps, POSITIONS, strict=True):
        (step / "data" / "metadata").write_text(json.dumps(position))
        digests.write(step)  # as where it was written wrong
    *passed, end = resumed(config, workdir).messages
    for step, message in zip(reversed(steps), passed, strict=True):
        assert message.startswith(f"checkpoint {step} cannot be read and is passed over: ")
    assert end == "continuing from step 2"
    ended, expected = saved(workdir, 4), saved(whole, 4)
    for name in expected:
        np.testing.assert_array_equal(ended[name], expected[name], err_msg=name)


def test_a_checkpoint_of_newer_code_stops_the_run_and_stays(config, workdir):
    step = workdir / "checkpoints" / "4"
    file = step / "config" / "metadata"
    file.write_text(file.read_text().replace('"ema_decay"', '"ema_decay_of_tomorrow"'))
    digests.write(step)
    with pytest.raises(
        UserError, match=rf"{step} was written by newer code .*ema_decay_of_tomorrow.*: update this code"
    ):
        Run(config, workdir).train()
    assert step.is_dir()


@pytest.mark.parametrize("seed", range(2))  # a thousand of them are part of `make torture`
def test_a_changed_byte_is_passed_over_or_without_effect(config, whole, workdir, seed):
    step = workdir / "checkpoints" / "4"
    with flipped(step, random.Random(seed)) as change:
        recorder = Recorder()
        state = Run(config, workdir, [recorder]).train()
        expected = saved(whole, 4)
        for name, value in state.params.items():
            np.testing.assert_array_equal(value, expected[f"['params']['{name}']"], err_msg=change)
        assert recorder.messages[-1] in ("continuing from step 2", "step 4 is the last: nothing to do")
        assert (len(recorder.messages) == 2) == (recorder.messages[-1] == "continuing from step 2")
        if (spoilt := step.with_name("4.unreadable")).exists():  # put it where the byte is changed back
            shutil.rmtree(step)
            spoilt.rename(step)


def test_a_checkpoint_without_digests_continues_and_it_is_told_once(config, workdir):
    step = workdir / "checkpoints" / "4"
    (step / digests.RECORD).unlink()
    assert resumed(config, workdir).messages == [
        f"checkpoint {step} has no digests: whether its files have changed cannot be told",
        "step 4 is the last: nothing to do",
    ]


def test_a_second_run_in_a_folder_is_refused_at_once(config, tmp_path):
    class Second(Recorder):
        def step(self, step):
            with pytest.raises(UserError, match=r"run is in use: another run trains there") as error:
                Run(config, tmp_path / "run")
            self.messages.append(str(error.value))

    second = Second()
    Run(config, tmp_path / "run", [second]).train()
    assert len(second.messages) == 5 and "\n" not in second.messages[0]
    Run(config, tmp_path / "run")  # free again


def test_the_lock_of_a_killed_process_is_gone(processes, tmp_path):
    processes.call(_hold_and_die, tmp_path, devices=1, code=-9)
    assert (tmp_path / "training.lock").exists()
    with only_run(tmp_path), pytest.raises(UserError, match="is in use"):
        check_unused(tmp_path)


def _hold_and_die(folder):
    with only_run(folder):
        os.kill(os.getpid(), 9)


def test_a_folder_whose_name_is_a_pattern_is_refused_before_any_work(config, tmp_path):
    with pytest.raises(UserError, match=r"sashimi\[2\] has \[\] in its name"):
        Run(config, tmp_path / "sashimi[2]")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(config, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("a file")
    recorder = Recorder()
    with pytest.raises(UserError, match="checkpoints cannot be written"):
        Run(config, tmp_path / "run", [recorder]).train()
    assert recorder.steps == []


def test_a_run_outside_the_main_thread(config, whole, tmp_path):
    thread = threading.Thread(target=Run(config, tmp_path / "run").train)
    thread.start()
    thread.join()
    ended, expected = saved(tmp_path / "run", 4), saved(whole, 4)
    for name in expected:
        np.testing.assert_array_equal(ended[name], expected[name], err_msg=name)
