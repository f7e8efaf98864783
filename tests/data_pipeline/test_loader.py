import json

import chex
import numpy as np
import pytest

from diffwave_jax.data import make_loader, open_dataset
from diffwave_jax.data.loader import shifted
from diffwave_jax.errors import UserError
from tests.helpers.audio_files import write_wav

AUGMENTED = {"shift": 20, "gain": (0.5, 1.5)}


def take(loader, count):
    return [next(loader) for _ in range(count)]


def joined(batches):
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def test_batches_are_float_audio_and_labels(ten_clips):
    batch = next(make_loader(ten_clips, batch_size=4, seed=0))
    chex.assert_shape(batch["audio"], (4, 400))
    chex.assert_shape(batch["label"], (4,))
    assert (batch["audio"].dtype, batch["label"].dtype) == (np.float32, np.int32)


def test_each_epoch_is_every_clip_once_in_a_new_order(ten_clips):
    # ten clips, four a batch: the third and the eighth batch span two epochs
    labels = joined(take(make_loader(ten_clips, batch_size=4, seed=0), 10))["label"].reshape(4, 10)
    for epoch in labels:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in labels}) == 4


def test_seeds_give_different_orders_and_the_same_seed_the_same(ten_clips):
    first, again, other = (joined(take(make_loader(ten_clips, batch_size=5, seed=seed), 4)) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    assert (first["label"] != other["label"]).any()


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("augmentation", [{}, AUGMENTED])
def test_processes_share_the_same_global_batches(ten_clips, processes, augmentation):
    common = {"batch_size": 8, "seed": 3, **augmentation}
    whole = take(make_loader(ten_clips, **common), 6)
    parts = [
        take(make_loader(ten_clips, **common, process_index=index, process_count=processes), 6)
        for index in range(processes)
    ]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert all(len(share["label"]) == 8 // processes for share in shares)
        chex.assert_trees_all_equal(batch, joined(shares))


def test_the_stream_does_not_depend_on_the_batch_size(ten_clips):
    streams = [joined(take(make_loader(ten_clips, batch_size=b, seed=0, **AUGMENTED), 24 // b)) for b in (3, 8)]
    chex.assert_trees_all_equal(*streams)


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_a_saved_position_continues_the_stream(ten_clips, prefetch):
    loader = make_loader(ten_clips, batch_size=4, seed=0, prefetch=prefetch, **AUGMENTED)
    take(loader, 7)
    state = json.loads(json.dumps(loader.get_state()))
    expected = take(loader, 5)
    resumed = make_loader(ten_clips, batch_size=4, seed=0, prefetch=prefetch, **AUGMENTED)
    next(resumed)
    resumed.set_state(state)
    chex.assert_trees_all_equal(take(resumed, 5), expected)


def test_the_position_is_the_same_in_every_process(ten_clips):
    loaders = [make_loader(ten_clips, batch_size=4, seed=0, process_index=p, process_count=2) for p in range(2)]
    for loader in loaders:
        take(loader, 3)
    assert loaders[0].get_state() == loaders[1].get_state()


@pytest.mark.parametrize(("before", "after"), [(8, 4), (4, 8), (6, 10)])
def test_continuing_with_another_batch_size_loses_and_repeats_no_clip(ten_clips, before, after):
    whole = joined(take(make_loader(ten_clips, batch_size=1, seed=0, **AUGMENTED), 3 * before + 3 * after))
    first = make_loader(ten_clips, batch_size=before, seed=0, **AUGMENTED)
    parts = take(first, 3)
    second = make_loader(ten_clips, batch_size=after, seed=0, **AUGMENTED)
    second.set_state(first.get_state())
    chex.assert_trees_all_equal(joined(parts + take(second, 3)), whole)


def test_processes_share_the_batches_also_from_the_middle_of_one(ten_clips):
    loaders = [make_loader(ten_clips, batch_size=4, seed=0, process_index=p, process_count=2) for p in range(2)]
    whole = make_loader(ten_clips, batch_size=4, seed=0)
    for loader in (*loaders, whole):
        loader.set_state({"clips": 7})
    for _ in range(3):
        chex.assert_trees_all_equal(next(whole), joined([next(loader) for loader in loaders]))


def test_positions_of_before_count_batches(ten_clips):
    loader = make_loader(ten_clips, batch_size=4, seed=0)
    take(loader, 3)
    resumed = make_loader(ten_clips, batch_size=4, seed=0)
    resumed.set_state({"next_index": 3})
    assert resumed.get_state() == loader.get_state() == {"clips": 12, "data": ten_clips.fingerprint}
    chex.assert_trees_all_equal(next(resumed), next(loader))


@pytest.mark.parametrize(
    "state", [-5, "x", {}, {"clips": -5}, {"clips": "x"}, {"clips": 1.5}, {"next_index": True}, []]
)
def test_what_is_no_position_is_a_value_error(ten_clips, state):
    loader = make_loader(ten_clips, batch_size=4, seed=0)
    with pytest.raises(ValueError, match="the data position is"):
        loader.set_state(state)


def test_one_epoch_in_the_data_s_order(ten_clips):
    batches = list(make_loader(ten_clips, batch_size=4, seed=0, num_epochs=1, shuffle=False))
    assert [len(batch["label"]) for batch in batches] == [4, 4, 2]
    chex.assert_trees_all_equal(joined(batches), ten_clips.read(range(10)))


def test_a_last_small_batch_is_shared_without_loss(ten_clips):
    common = {"batch_size": 4, "seed": 0, "num_epochs": 1, "process_count": 4}
    labels = [joined(list(make_loader(ten_clips, process_index=index, **common)))["label"] for index in range(4)]
    assert sorted(np.concatenate(labels)) == list(range(10))


def test_batches_may_be_larger_than_the_data(ten_clips):
    labels = next(make_loader(ten_clips, batch_size=30, seed=0))["label"]
    assert np.bincount(labels).tolist() == [3] * 10


def test_augmentation_moves_and_scales_each_clip(ten_clips):
    plain = joined(take(make_loader(ten_clips, batch_size=10, seed=0), 3))
    augmented = joined(take(make_loader(ten_clips, batch_size=10, seed=0, **AUGMENTED), 3))
    chex.assert_trees_all_equal(plain["label"], augmented["label"])
    offsets, gains = [], []
    for before, after in zip(plain["audio"], augmented["audio"], strict=True):
        offset, gain = recovered(before, after)
        offsets.append(offset)
        gains.append(gain)
    assert -20 <= min(offsets) < 0 < max(offsets) <= 20
    assert 0.5 <= min(gains) < 0.8 and 1.2 < max(gains) <= 1.5
    assert len(set(gains)) == 30


def recovered(before, after):
    """The offset and factor that turn one clip into the other."""
    for offset in range(-20, 21):
        moved = shifted(before, offset)
        gain = np.dot(moved, after) / np.dot(moved, moved)
        # float32 rounding of one product
        if np.allclose(after, gain * moved, rtol=0, atol=1e-7):
            return offset, gain
    raise AssertionError("not a shifted and scaled copy")


def test_loud_audio_is_clipped(ten_clips):
    audio = next(make_loader(ten_clips, batch_size=10, seed=0, gain=(500.0, 500.0)))["audio"]
    assert audio.max() == 1.0


@pytest.mark.parametrize("offset", [0, 1, -1, 4, -4, 5, -5, 9, -9])
def test_shifted_pads_with_zeros(offset):
    audio = np.arange(1.0, 6.0)
    expected = [audio[index - offset] if 0 <= index - offset < 5 else 0 for index in range(5)]
    chex.assert_trees_all_equal(shifted(audio, offset), np.array(expected))


@pytest.mark.parametrize(("batch_size", "processes"), [(0, 1), (6, 4)])
def test_a_batch_that_cannot_be_shared_is_an_error(ten_clips, batch_size, processes):
    wanted = (
        rf"train\.batch_size is {batch_size}; it must be a positive multiple of the number of processes, {processes}"
    )
    with pytest.raises(UserError, match=wanted):
        make_loader(ten_clips, batch_size=batch_size, seed=0, process_count=processes)


def test_what_is_recorded_moves_with_the_clip(tmp_path):
    """A clip of 50 samples in 80, shifted by up to 40 either way: what counts ends where its last sample lies."""
    write_wav(tmp_path / "clips" / "a.wav", np.full(50, 0.5), 8000, "FLOAT")
    write_wav(tmp_path / "clips" / "b.wav", np.full(50, 0.5), 8000, "FLOAT")
    data = {"source": "folder", "archive": str(tmp_path / "clips"), "data_dir": str(tmp_path / "prepared")}
    dataset = open_dataset({**data, "sample_rate": 8000, "length": 80})
    batch = joined(take(make_loader(dataset, batch_size=4, seed=0, shift=40), 10))
    last = [1 + np.flatnonzero(audio)[-1] for audio in batch["audio"]]
    np.testing.assert_array_equal(batch["recorded"], last)
    assert len(set(last)) > 10 and max(last) == 80
