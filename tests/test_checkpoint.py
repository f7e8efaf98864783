import numpy as np
import pytest

from diffwave_jax import checkpoint
from diffwave_jax.config import default_config, from_dict, model_section, to_dict
from diffwave_jax.errors import UserError


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
