"""Leaving a run and coming back: on request, after bad news, and past checkpoints that cannot be used."""

import shutil
import signal

import numpy as np
import pytest

from diffwave_jax import digests
from diffwave_jax.errors import UserError
from diffwave_jax.training.loop import Run
from tests.helpers.runs import Recorder, Signals, resumed, saved, tiny_config


@pytest.fixture(scope="module")
def config(clips):
    """Six steps of a very small network, saved at every second."""
    config = tiny_config(clips, num_steps=6, checkpoint_every=2)
    config.model.update(n_layers=1, channels=4)
    return config.lock()


def _assert_same_end(workdir, whole):
    ended, expected = saved(workdir, 6), saved(whole, 6)
    assert ended.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(ended[name], expected[name], err_msg=name)


def test_a_signal_saves_and_leaves_and_the_run_continues_to_the_same_bits(config, whole, tmp_path):
    number = signal.SIGTERM
    before = signal.getsignal(number)
    recorder = Recorder()
    Run(config, tmp_path / "run", [recorder, Signals(2, number)]).train()
    stopped = recorder.steps[-1]
    assert 2 < stopped < 6
    assert recorder.messages == [f"{number.name}: saved step {stopped}; the same command continues from there"]
    assert signal.getsignal(number) is before
    assert resumed(config, tmp_path / "run").messages == [f"continuing from step {stopped}"]
    _assert_same_end(tmp_path / "run", whole)


def test_a_finished_run_has_nothing_to_do(config, workdir):
    recorder = resumed(config, workdir)
    assert recorder.messages == ["step 6 is the last: nothing to do"] and recorder.steps == [6]


def _damages():
    """Ways to spoil the folder of a checkpoint."""

    def halve(step, item):
        largest = max((step / item).rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
        largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])

    def empty(step):
        for path in [path for path in step.rglob("*") if path.is_file()]:
            path.write_bytes(b"")

    def replace_by_foreign(step):
        shutil.rmtree(step)
        step.mkdir()
        (step / "model.pkl").write_bytes(b"something else")

    yield lambda step: halve(step, "params")
    yield lambda step: halve(step, "optimizer")
    yield lambda step: shutil.rmtree(step / "data")
    yield lambda step: shutil.rmtree(step / "ema")
    yield lambda step: (step / "config" / "metadata").write_text('{"model": {"na')
    yield lambda step: (step / "config" / "metadata").write_text('{"lr": 1}')
    yield empty
    yield replace_by_foreign


def test_spoilt_checkpoints_are_named_and_passed_over(config, whole, workdir):
    """Each way in a checkpoint of its own, newer than the whole one: one run passes over all of them."""
    last, damages = workdir / "checkpoints" / "6", list(_damages())
    steps = [last.with_name(str(6 + number)) for number in range(len(damages))]
    for step in steps[1:]:
        shutil.copytree(last, step)
    for step, damage in zip(steps, damages, strict=True):
        damage(step)
    *passed, end = resumed(config, workdir).messages
    for step, message in zip(reversed(steps), passed, strict=True):
        assert message.startswith(f"checkpoint {step} cannot be read and is passed over: ") and "\n" not in message
        assert step.with_name(f"{step.name}.unreadable").is_dir()
    assert end == "continuing from step 4"
    _assert_same_end(workdir, whole)  # step 6 is saved anew


def test_when_all_checkpoints_are_spoilt_nothing_is_started_or_moved(config, workdir):
    names = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    for path in (workdir / "checkpoints").iterdir():
        shutil.rmtree(path / "params")
    with pytest.raises(UserError, match=r"none of the checkpoints in .* can be read: move them away"):
        Run(config, workdir).train()
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == names


def test_another_configuration_is_refused_in_one_line(config, workdir):
    other = config.copy_and_resolve_references()
    other.diffusion.num_steps = 50
    with pytest.raises(UserError, match=r"6 was trained with diffusion\.num_steps=200, the config says 50") as error:
        Run(other, workdir).train()
    assert "\n" not in str(error.value)


def test_without_optimizer_state_moments_start_at_zero_but_the_schedule_goes_on(config, workdir):
    step = workdir / "checkpoints" / "6"
    shutil.rmtree(step / "optimizer")  # as in a checkpoint converted from weights alone
    digests.write(step)
    longer = config.copy_and_resolve_references()
    longer.train.num_steps = 8
    recorder = resumed(longer, workdir)
    assert recorder.messages[0] == f"checkpoint {step} has no optimizer state: Adam's moments start at zero"
    counts = {name: value for name, value in saved(workdir, 8).items() if "count" in name}
    assert sorted(int(value) for value in counts.values()) == [2, 8]


def test_a_loss_that_is_not_finite_stops_and_names_the_last_good_checkpoint(config, tmp_path):
    wild = config.copy_and_resolve_references()
    wild.train.update(learning_rate=1e30, schedule="constant", warmup_steps=2, clip_norm=0.0, num_steps=50)
    with pytest.raises(UserError, match="the loss is not finite at step") as error:
        Run(wild, tmp_path / "run").train()
    last_good = tmp_path / "run" / "checkpoints" / "2"  # the warm-up's first step has rate 0, its second 5e29
    assert f"the last good checkpoint is {last_good};" in str(error.value)
    assert all(np.isfinite(value).all() for value in saved(tmp_path / "run", 2).values())
