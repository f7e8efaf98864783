import hashlib
import json
import logging
import random
import resource
import shutil

import numpy as np
import pytest

from diffwave_jax import checkpoint, digests
from diffwave_jax.config import default_config, from_dict, model_section, to_dict
from diffwave_jax.errors import UserError
from tests.helpers.flips import flipped, loaded


@pytest.fixture
def config():
    config = default_config()
    config.model = model_section("sashimi", pool=(2,), n_layers=(1, 2))
    return config


def contents(config, scale=1.0):
    params = {"down.0.norm.scale": np.float32([1, 2]) * np.float32(scale), "input.v": np.ones((1, 3), np.float32)}
    return {"params": params, "config": to_dict(config)}


def test_round_trip(tmp_path, config):
    checkpoint.save(tmp_path, 3, **contents(config))
    path = checkpoint.save(tmp_path, 12, **contents(config, 2), ema=contents(config, 5)["params"])
    for where in (tmp_path, tmp_path / "checkpoints", path):
        loaded = checkpoint.load(where)
        assert loaded.step == 12
        np.testing.assert_array_equal(loaded.weights["down.0.norm.scale"], [5, 10])
        assert from_dict(loaded.config) == config
    np.testing.assert_array_equal(checkpoint.load(tmp_path, ema=False).weights["down.0.norm.scale"], [2, 4])
    np.testing.assert_array_equal(checkpoint.load(tmp_path / "checkpoints" / "3").weights["down.0.norm.scale"], [1, 2])


def test_missing_empty_and_damaged_checkpoints_are_named(tmp_path, config):
    with pytest.raises(UserError, match="no checkpoint folder at"):
        checkpoint.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no complete checkpoint in"):
        checkpoint.load(tmp_path)
    path = checkpoint.save(tmp_path, 1, **contents(config))
    for file in (path / "params").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load(tmp_path)


def test_config_keeps_tuples_and_fills_in_new_fields(config):
    saved = to_dict(config)
    del saved["train"]["clip_norm"]  # as in a checkpoint from before the field existed
    restored = from_dict(saved)
    assert restored.model.n_layers == (1, 2)
    assert restored.data.classes == config.data.classes
    assert restored.train.clip_norm == default_config().train.clip_norm


def test_every_item_has_a_digest(tmp_path, config):
    path = checkpoint.save(tmp_path, 1, **contents(config), data={"next_index": 3})
    record = json.loads((path / "sha256.json").read_text())
    assert record.keys() == {"params", "config", "data"}
    files = sorted(file.relative_to(path / "data").as_posix() for file in (path / "data").rglob("*") if file.is_file())
    lines = [f"{hashlib.sha256((path / 'data' / name).read_bytes()).hexdigest()}  {name}\n" for name in files]
    assert "metadata" in files and record["data"] == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_changed_bytes_are_refused_or_without_effect(tmp_path, config):
    step = checkpoint.save(tmp_path, 3, **contents(config), ema=contents(config, 2)["params"])
    whole, draw, refused = loaded(step), random.Random(1), 0
    assert whole is not None
    for _ in range(60):
        with flipped(step, draw) as change:
            found = loaded(step)
        assert found in (None, whole), change
        refused += found is None
    assert refused >= 20  # the files that loading reads are more than a third


def test_a_file_more_or_less_is_noticed_and_an_item_that_is_gone(tmp_path, config):
    step = checkpoint.save(tmp_path, 3, **contents(config), ema=contents(config, 2)["params"])
    (step / "ema" / "more").write_text("")
    with pytest.raises(UserError, match=rf"{step} cannot be read \(its part ema is not what was written: a file"):
        checkpoint.load(step)
    shutil.rmtree(step / "ema")
    with pytest.raises(UserError, match=rf"{step} cannot be read \(its part ema is missing\)"):
        checkpoint.load(step)


def test_a_checkpoint_without_digests_loads_and_it_is_told_once(tmp_path, config, caplog):
    step = checkpoint.save(tmp_path, 3, **contents(config))
    (step / "sha256.json").unlink()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            np.testing.assert_array_equal(checkpoint.load(tmp_path).weights["down.0.norm.scale"], [1, 2])
    told = [record.getMessage() for record in caplog.records if record.name == "diffwave_jax.checkpoint"]
    assert told == [f"the checkpoint {step} has no digests: whether its files have changed cannot be told"]


@pytest.mark.parametrize("character", "[]*?{}\\")
def test_a_name_that_is_a_pattern_is_refused_before_anything_is_written(tmp_path, config, character):
    with pytest.raises(UserError, match=r"out.1/checkpoints has . in its name, which checkpoints cannot be written to"):
        checkpoint.save(tmp_path / f"out{character}1", 1, **contents(config))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_back_was_not_saved(tmp_path, config, monkeypatch):
    def damaged(step):
        digests_of_whole(step)
        (step / "config" / "metadata").write_text("{}")

    digests_of_whole = digests.write
    monkeypatch.setattr(digests, "write", damaged)
    with pytest.raises(UserError, match="1 was written but cannot be read back"):
        checkpoint.save(tmp_path, 1, **contents(config))
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("limit", [100, 3000])
def test_a_full_disk_is_one_line_and_older_checkpoints_stay(tmp_path, config, capfd, limit):
    """The system's own refusal to write more than `limit` bytes a file stands for a full disk."""
    older = checkpoint.save(tmp_path, 1, **contents(config))
    large = {"params": {"input.v": np.random.default_rng(0).standard_normal(3000).astype(np.float32)}}
    capfd.readouterr()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(UserError, match=r"2 cannot be written \(File too large; .* MB free\)"):
            checkpoint.save(tmp_path, 2, **contents(config) | large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capfd.readouterr().err == ""
    assert list((tmp_path / "checkpoints").iterdir()) == [older]
    assert checkpoint.load(tmp_path).step == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda saved: saved["train"].update(of_tomorrow=1), "unknown config field train.of_tomorrow"),
        (lambda saved: saved.update(optimiser={}), "unknown config field optimiser"),
        (lambda saved: saved["model"].update(n_heads=3), "unknown config field model.n_heads"),
        (lambda saved: saved["model"].update(n_layers="x"), "model.n_layers is 'x'"),
        (lambda saved: saved["data"].update(gain=1.0), "data.gain is 1.0"),
        (lambda saved: saved.update(train=[]), r"the config has no train\.num_steps|train"),
        (lambda saved: saved.pop("model"), "has no section model"),
        (lambda saved: saved["model"].update(name=["x"]), "model.name is"),
    ],
)
def test_a_config_that_is_none_is_one_line(config, change, said):
    saved = to_dict(config)
    change(saved)
    with pytest.raises(UserError, match=said):
        from_dict(saved)


def test_former_fields_are_passed_over(config):
    saved = to_dict(config)
    saved["train"].update(loss_power=1.0)
    assert from_dict(saved) == config
