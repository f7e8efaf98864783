"""The data of a run: its position survives a change of the batch size, and a change of the data is told.

And the names of its classes come along with the model.
"""

import numpy as np
import pytest
import soundfile

import diffwave_jax
from diffwave_jax.config import default_config
from diffwave_jax.training.feed import Feed, data_mesh
from diffwave_jax.training.loop import Run
from tests.helpers.runs import tiny_config, write_clips


@pytest.fixture
def own_clips(tmp_path):
    return write_clips(tmp_path / "clips")


def audio(feed, batches):
    return np.concatenate([np.asarray(feed.next()["audio"]) for _ in range(batches)])


def test_a_run_goes_on_with_another_batch_size_where_it_was(own_clips):
    whole = audio(Feed(tiny_config(own_clips, batch_size=8), data_mesh()), 4)
    first = Feed(tiny_config(own_clips, batch_size=8), data_mesh())
    start, position = audio(first, 3), first.position()
    told = []
    second = Feed(tiny_config(own_clips, batch_size=4), data_mesh(), report=told.append)
    second.seek(position)
    np.testing.assert_array_equal(np.concatenate([start, audio(second, 2)]), whole)
    assert told == []


def test_changed_data_is_told(own_clips):
    first = Feed(tiny_config(own_clips), data_mesh())
    audio(first, 1)
    (own_clips / "7.wav").unlink()
    told = []
    second = Feed(tiny_config(own_clips), data_mesh(), report=told.append)
    second.seek(first.position())
    assert told == ["the data is not what this run was trained on so far: it goes on with what it finds now"]
    told.clear()
    second.seek({"next_index": 1})  # a position of before, which says nothing about the data
    assert told == []


def test_what_is_no_position_is_a_value_error(own_clips):
    feed = Feed(tiny_config(own_clips), data_mesh())
    for position in (-5, "x", {}):
        with pytest.raises(ValueError, match="the data position is"):
            feed.seek(position)


def test_a_folders_classes_are_asked_for_by_name(tmp_path):
    for word in ("dog", "cat"):
        (tmp_path / "clips" / word).mkdir(parents=True)
        for i in range(40):  # enough for clips in every split
            noise = np.random.default_rng(i).standard_normal(256)
            soundfile.write(tmp_path / "clips" / word / f"{i}.wav", 0.1 * noise, 8000)
    config = tiny_config(tmp_path / "clips", num_steps=1)
    config.model.update(n_layers=1, channels=4, n_classes=2)
    Run(config, tmp_path / "run").train()
    model = diffwave_jax.load(tmp_path / "run")
    np.testing.assert_array_equal(model.generate(1, digit="dog", steps=1), model.generate(1, digit=1, steps=1))
    assert config.data.classes == default_config().data.classes  # the run's own config stays
