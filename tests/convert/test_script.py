import pytest
import torch

from diffwave_jax import cli
from diffwave_jax.commands import convert
from diffwave_jax.convert.to_torch import write_torch
from tests.helpers.torch_files import MODELS, random_contents


@pytest.fixture
def original(tmp_path):
    write_torch(tmp_path / "original.pt", random_contents(MODELS["diffwave"]))
    return tmp_path / "original.pt"


def run(*arguments) -> int | None:
    """The script's exit status."""
    try:
        return cli.guard(convert.main, convert.parse([str(argument) for argument in arguments]))
    except SystemExit as end:
        return end.code


def test_there_and_back(tmp_path, capsys, original):
    assert run(original, tmp_path / "run", "--dilation-cycle", "2", "--length", "64") is None
    said = capsys.readouterr().out
    assert said.startswith("DiffWave, step 7\n")
    assert "diffwave: channels 4, n_layers 2, dilation_cycle 2, length 64" in said
    assert "step 7, learning rate 0.0002, Adam state after 7 updates" in said
    assert run("--to-torch", tmp_path / "run", tmp_path / "back.pt") is None
    first, second = (torch.load(path, weights_only=True) for path in (original, tmp_path / "back.pt"))
    torch.testing.assert_close(second["model_state_dict"], first["model_state_dict"], rtol=0, atol=0)


@pytest.mark.parametrize(
    "spelling", [("--dilation-cycle=2", "--weights-only"), ("--dilation_cycle=2", "--weights_only")]
)
def test_weights_only(tmp_path, capsys, original, spelling):
    assert run(original, tmp_path / "run", *spelling) is None
    assert "no Adam state" in capsys.readouterr().out
    assert not (tmp_path / "run" / "checkpoints" / "7" / "optimizer").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.pt", "run"], "missing.pt: no such file"),
        (["original.pt", "run"], "--dilation-cycle"),
        (["original.pt", "run", "--dilation-cycle=2", "--per-stage-length"], "this is a diffwave"),
        (["original.pt", "run", "--dilation-cycle=2", "--length=-5"], "'-5' is not a whole number from 1 on"),
        (["original.pt", "run", "--raw-weights"], "--raw-weights goes with --to-torch"),
        (["--to-torch", "run", "out.pt", "--length=5"], "--length is not for --to-torch"),
        (["--to-torch", "missing", "out.pt"], "no checkpoint folder"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, capsys, original, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert [path.name for path in tmp_path.iterdir()] == ["original.pt"]
