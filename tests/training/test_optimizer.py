"""Muon: which weights it updates, by how much, and that a run with it resumes to the bit."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax.config import default_config
from diffwave_jax.errors import UserError
from diffwave_jax.training import optimizer
from diffwave_jax.training.loop import Run
from tests.helpers.runs import Signals, resumed, saved, tiny_config


def _train(**fields):
    train = default_config().train
    train.update(learning_rate=1e-3, muon_learning_rate=3e-3, **fields)
    return train


def _first_update(params, gradients, **fields):
    made = optimizer.make_optimizer(_train(**fields))
    updates, _ = made.update(gradients, made.init(params), params)
    return updates


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (3, 16, 32)], ids=str)
def test_a_matrix_moves_along_the_nearest_orthogonal_one(shape):
    gradient = jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)
    update = _first_update({"a.kernel": gradient}, {"a.kernel": gradient})["a.kernel"].reshape(-1, shape[-1])
    u, _, vt = np.linalg.svd(np.reshape(gradient, (-1, shape[-1])), full_matrices=False)
    longer = max(update.shape)
    moved = np.diag(u.T @ np.asarray(update, np.float64) @ vt.T) / (-3e-3 * optimizer.MUON_RMS * longer**0.5)
    # Muon's five Newton-Schulz iterations bring singular values only to between 0.7 and 1.2 (Jordan et al. 2024).
    assert np.all((moved > 0.65) & (moved < 1.25))


def test_other_weights_are_updated_by_adam_at_their_rate():
    names = ["embedding.label.embedding", "a.bias", "s4.kernel.C", "s4.kernel.log_w_real", "s4.kernel.B"]
    params = {name: jnp.ones((4, 6)) for name in names} | {
        "input.v": jnp.ones((1, 8)),
        "output2.kernel": jnp.ones((8, 1)),
    }
    updates = _first_update(params, jax.tree.map(jnp.ones_like, params), state_learning_rate=1e-4)
    for name, update in updates.items():
        # Adam's first step is 1 but for float32's rounding of 1 - 0.999.
        np.testing.assert_allclose(update, -1e-4 if name.endswith(("real", ".B")) else -1e-3, rtol=1e-5, err_msg=name)


def test_which_weights_are_matrices():
    shapes = {"a.s4.output.kernel": (80, 160), "blocks.0.dilated.v": (3, 64, 128), "up.0.linear.v": (160, 320)}
    others = {
        "a.s4.kernel.C": (2, 80, 32, 2),
        "input.v": (1, 40),
        "output2.kernel": (40, 1),
        "embedding.speaker.embedding": (7, 512),
    }
    assert all(optimizer.is_inner_matrix(*item) for item in shapes.items())
    assert not any(optimizer.is_inner_matrix(*item) for item in others.items())


def test_a_run_that_was_stopped_ends_with_the_bits_of_one_that_was_not(clips, tmp_path):
    config = tiny_config(clips, num_steps=4, checkpoint_every=2, learning_rate=1e-3, muon_learning_rate=3e-3)
    config.model.update(n_layers=1, channels=4)
    Run(config, tmp_path / "whole").train()
    Run(config, tmp_path / "stopped", [Signals(1, signal.SIGTERM)]).train()
    assert resumed(config, tmp_path / "stopped").messages[0].startswith("continuing from step")
    ended, expected = saved(tmp_path / "stopped", 4), saved(tmp_path / "whole", 4)
    assert ended.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(ended[name], expected[name], err_msg=name)


def test_a_rate_of_muon_is_a_ratio_to_adams():
    train = _train()
    train.learning_rate = 0.0
    with pytest.raises(UserError, match=r"train.muon_learning_rate is 0.003, but train.learning_rate is 0"):
        optimizer.make_optimizer(train)
