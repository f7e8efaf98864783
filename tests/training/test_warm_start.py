"""A run may begin with the weights of another network."""

import chex
import numpy as np
import pytest
from flax import nnx

from diffwave_jax.errors import UserError
from diffwave_jax.models import build, weights
from diffwave_jax.training.loop import Run
from diffwave_jax.training.warm_start import begun
from tests.helpers.runs import Recorder, tiny_config
from tests.helpers.tiny import tiny_generator


@pytest.fixture(scope="module")
def other():
    return tiny_generator("sashimi")


@pytest.fixture(scope="module")
def source(other, tmp_path_factory):
    return str(other.save(tmp_path_factory.mktemp("other") / "other.safetensors"))


def fresh(other, **fields):
    return weights.split(build(other.config.model.to_dict() | fields, rngs=nnx.Rngs(7)))[1]


def test_weights_of_the_same_name_and_shape_are_taken(other, source):
    """A vocoder has a mel's weights besides, and another number of classes another table of them."""
    new = fresh(other, n_mels=5, upsample=(4, 4))
    first, told = begun(new, source)
    assert list(first) == list(new)
    mels = {name for name in new if ".upsampler." in name or ".condition." in name}
    chex.assert_trees_all_equal({name: first[name] for name in mels}, {name: new[name] for name in mels})
    rest = new.keys() - mels
    chex.assert_trees_all_equal(
        {name: np.asarray(first[name]) for name in rest}, {name: np.asarray(other.params[name]) for name in rest}
    )
    assert f"begins with {len(rest)} of {len(new)} weights of {source}; new: {min(mels)}," in told


def test_none_that_fits(source):
    with pytest.raises(UserError, match=r"none of the .* weights of .*other\.safetensors has the name and the shape"):
        begun({"elsewhere": np.zeros(3, np.float32)}, source)


def test_a_run_begins_so_and_goes_on_without_it(clips, source, other, tmp_path):
    config = tiny_config(clips, "sashimi", num_steps=1, learning_rate=0.0, ema_decay=0.0, init_from=source)
    config.model.update(n_layers=1, l_max=256)
    told = Recorder()
    state = Run(config, tmp_path / "run", [told]).train()
    chex.assert_trees_all_equal(
        {name: np.asarray(value) for name, value in state.params.items()},
        {name: np.asarray(value) for name, value in other.params.items()},
    )
    assert any(message.startswith(f"begins with {len(other.params)} of") for message in told.messages)
    config.train.num_steps = 2
    again = Recorder()
    Run(config, tmp_path / "run", [again]).train()
    assert "continuing from step 1" in again.messages
    assert not any("begins with" in message for message in again.messages)
