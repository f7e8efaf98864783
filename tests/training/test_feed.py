"""The data of a run: its position survives a change of the batch size, and a change of the data is told."""

import numpy as np
import pytest

from diffwave_jax.training.feed import Feed, data_mesh
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
