"""What a run tells: curves, clips and pictures in TensorBoard, lines in a log, a bar on a terminal."""

import io
import subprocess
import sys

import numpy as np
import pytest

from diffwave_jax import cli
from diffwave_jax.errors import UserError
from diffwave_jax.training.loop import Run
from diffwave_jax.training.preview import make_preview
from diffwave_jax.training.tensorboard import TensorBoard
from tests.helpers.events import curves, events, tags
from tests.helpers.runs import Recorder, tiny_config

SAID_EVERY_LOG = {
    *("train/loss", "train/loss_quartile1", "train/loss_quartile4", "optimizer/gradient_norm"),
    *("optimizer/learning_rate", "speed/clips_per_second"),
}


@pytest.fixture(scope="module")
def logged(clips, tmp_path_factory):
    """A run of 6 steps with everything logged, and what was told."""
    workdir = tmp_path_factory.mktemp("logged") / "run"
    config = tiny_config(clips, num_steps=6, log_every=2, validate_every=3, sample_every=6)
    config.model.update(n_layers=1, channels=4)
    config.sample.update(steps=3, sampler="ddim")
    recorder = Recorder()
    Run(config, workdir, [recorder, TensorBoard(workdir / "tensorboard")]).train()
    return config, workdir, recorder


def test_curves(logged):
    _, workdir, recorder = logged
    found = curves(workdir / "tensorboard")
    assert set(found) >= SAID_EVERY_LOG
    assert list(found["train/loss"]) == [2, 4, 6] and list(found["validation/loss"]) == [3, 6]
    assert found["train/loss"][4] == pytest.approx(recorder.values[4]["loss"])
    assert 0 < found["optimizer/learning_rate"][4] <= 1e-3


def test_clips_and_spectrograms(logged):
    _, workdir, recorder = logged
    audio, rate = recorder.audio[6]
    assert audio.shape == (4, 256) and rate == 8000
    assert tags(workdir / "tensorboard", "audio") == {(f"clips/{i}", 6) for i in range(4)}
    assert tags(workdir / "tensorboard", "image") == {(f"mel_spectrograms/{i}", 6) for i in range(4)}


def test_a_continued_run_hides_what_came_after_its_checkpoint(logged):
    config, workdir, _ = logged
    longer = config.copy_and_resolve_references()
    longer.train.update(num_steps=8)
    Run(longer, workdir, [TensorBoard(workdir / "tensorboard")]).train()
    restarts = [e.step for e in events(workdir / "tensorboard") if e.session_log.status == e.session_log.START]
    assert restarts == [1, 7]
    assert list(curves(workdir / "tensorboard")["train/loss"]) == [2, 4, 6, 8]


def test_validation_covers_its_clips_whatever_the_batch(clips, tmp_path):
    config = tiny_config(clips, num_steps=1, validate_every=1, batch_size=32)
    run = Run(config, tmp_path)
    places = np.concatenate([batch["index"] for batch in run._validation_batches])
    np.testing.assert_array_equal(places, np.arange(64))
    np.testing.assert_array_equal(run._validation_batches[0]["audio"][0], run._validation_batches[1]["audio"][0])


def test_a_classifier_has_no_clips_to_sample(clips):
    config = tiny_config(clips, sample_every=5, task="classification")
    with pytest.raises(UserError, match="is 5, but classification has no clips"):
        make_preview(config)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sampler", "euler", "unknown sampler 'euler'"),
        ("noise_scale", 3.0, "noise_scale is 3.0"),
        ("guided_steps", (9, 5), "the lowest step first"),
        ("guidence", 2.0, "unknown field 'guidence' in the config's sample section"),
    ],
)
def test_how_to_sample_is_checked_before_the_first_step(clips, field, value, message):
    config = tiny_config(clips, sample_every=5)
    with config.unlocked():
        config.sample[field] = value
    with pytest.raises(UserError, match=message):
        make_preview(config)


def test_plain_lines_where_there_is_no_terminal(capsys):
    console = cli.Console(10)
    console.step(4)
    console.message("continuing from step 4")
    console.scalars(5, {"loss": 0.123456, "learning_rate": 2e-4})
    said = capsys.readouterr()
    assert said.out == "step 5  loss 0.1235  learning_rate 0.0002\n" and said.err == "continuing from step 4\n"


def test_a_bar_on_a_terminal_starts_where_the_run_continues(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    console = cli.Console(10)
    console.step(4)
    console.step(5)
    console.scalars(5, {"loss": 0.5, "clips_per_second": 20.0})
    shown = terminal.getvalue()
    assert "5/10" in shown and "loss=0.5" in shown and "clips_per_second=20" in shown


def test_the_preparation_of_the_data_has_a_bar_of_its_own_above_the_runs(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    console = cli.Console(10)
    console.preparing(1, 2)
    console.preparing(2, 2)
    console.step(1)
    console.end()
    shown = terminal.getvalue()
    assert "2.0/2 clips" in shown and shown.index("2.0/2 clips") < shown.index("1/10")


def test_ctrl_c_outside_training_ends_in_one_line():
    script = "from diffwave_jax import cli\ndef main(_): raise KeyboardInterrupt\ncli.run(main)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "stopped; the same command continues from what is saved\n"
