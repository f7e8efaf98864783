"""The input pipeline: shuffled batches that do not depend on how many processes share them."""

from collections.abc import Sequence

import grain
import numpy as np

from diffwave_jax.data.dataset import Dataset
from diffwave_jax.errors import UserError


def make_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    process_count: int = 1,
    shift: int = 0,
    gain: Sequence[float] = (1.0, 1.0),
    num_epochs: int | None = None,
    shuffle: bool = True,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """Iterates over `{"audio": float32 (B, L) in [-1, 1], "label": int32 (B,)}`, B = batch_size / processes.

    Global batch k is the same clips in the same order, with the same augmentation, whatever the number of
    processes; each gets a contiguous part. Epochs follow each other within a batch, so none loses a clip.
    `get_state()` and `set_state()` give and take the position, a small JSON-like dict that is the same in
    every process.

    Args:
      dataset: the clips.
      batch_size: global, over all processes.
      seed: of order and augmentation.
      process_index: which part of each batch is wanted.
      process_count: how many parts there are.
      shift: clips move by up to this many samples either way, zeros moving in.
      gain: range of the factor a clip is multiplied with; the result is clipped to [-1, 1].
      num_epochs: endless if `None`; otherwise the last batch may be smaller.
      shuffle: in a new order each epoch; otherwise in the data's own.
      prefetch: batches made ahead, in threads.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"train.batch_size is {batch_size}; it must be a positive multiple of "
            f"the number of processes, {process_count}"
        )
    load = _LoadBatch(dataset, batch_size, seed, process_index, process_count, shift, tuple(gain))
    indices = grain.MapDataset.range(len(dataset)).seed(seed)
    if shuffle:
        indices = indices.shuffle()
    batches = indices.repeat(num_epochs).batch(batch_size).map_with_index(load)
    options = grain.ReadOptions(num_threads=min(prefetch, 4), prefetch_buffer_size=prefetch)
    return iter(batches.to_iter_dataset(options))


class _LoadBatch:
    """Turns (k, the clip indices of global batch k) into this process's part of the batch."""

    def __init__(self, dataset, batch_size, seed, process_index, process_count, shift, gain):
        self._dataset = dataset
        self._batch_size = batch_size
        self._seed = seed
        self._part = (process_index, process_count)
        self._shift = shift
        self._gain = gain

    def __call__(self, k: int, indices: np.ndarray) -> dict:
        index, count = self._part
        first, last = index * len(indices) // count, (index + 1) * len(indices) // count
        batch = self._dataset.read(indices[first:last])
        if self._shift or self._gain != (1.0, 1.0):
            for row, audio in enumerate(batch["audio"]):
                batch["audio"][row] = self._augment(audio, k * self._batch_size + first + row)
        return batch

    def _augment(self, audio: np.ndarray, position: int) -> np.ndarray:
        """Depends on the seed and the clip's place in the run only, so resuming repeats it."""
        rng = np.random.default_rng((self._seed, position))
        offset = rng.integers(-self._shift, self._shift, endpoint=True)
        return np.clip(shifted(audio, offset) * np.float32(rng.uniform(*self._gain)), -1, 1)


def shifted(audio: np.ndarray, offset: int) -> np.ndarray:
    """Moves `(L,)` audio later by `offset` samples (earlier if negative), zeros moving in."""
    result = np.zeros_like(audio)
    kept = max(len(audio) - abs(offset), 0)
    start = max(offset, 0)
    result[start : start + kept] = audio[start - offset : start - offset + kept]
    return result
