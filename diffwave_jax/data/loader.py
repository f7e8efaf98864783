"""The input pipeline: shuffled batches that do not depend on how many processes share them."""

import sys
from collections.abc import Sequence
from typing import cast

import grain
import numpy as np

from diffwave_jax.data.crops import Crops
from diffwave_jax.data.dataset import Dataset
from diffwave_jax.errors import UserError

CLIPS, DATA = "clips", "data"  # of a position: clips delivered so far, and the fingerprint of the data
BATCHES = "next_index"  # of positions saved before: batches instead


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
    crops: Crops | None = None,
) -> "Loader":
    """Iterates over the clips of `Dataset.read`, B = batch_size / processes at a time.

    Global batch k is the same clips in the same order, with the same augmentation, whatever the number of
    processes; each gets a contiguous part. Epochs follow each other within a batch, so none loses a clip. The stream of
    clips does not depend on the batch size either, and the position in it counts clips: `get_state()` and `set_state()`
    give and take it, a small JSON-like dict that is the same in every process.

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
      crops: of the clips, to be given with their mels, "mel": float32 (B, frames, bands), in place of the clips.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(
            f"train.batch_size is {batch_size}; it must be a positive multiple of "
            f"the number of processes, {process_count}"
        )
    order = grain.MapDataset.range(len(dataset)).seed(seed)
    if shuffle:
        order = order.shuffle()
    read = _ReadClips(dataset, order.repeat(num_epochs), seed, shift, (gain[0], gain[1]), crops)
    return Loader(read, batch_size, (process_index, process_count), prefetch)


class Loader:
    """Endless or not, the batches that `make_loader` describes."""

    def __init__(self, read: "_ReadClips", batch_size: int, part: tuple[int, int], prefetch: int):
        self._read = read
        self._batch_size = batch_size
        self._part = part
        self._options = grain.ReadOptions(num_threads=min(prefetch, 4), prefetch_buffer_size=prefetch)
        self._go_to(0)

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        batch = next(self._batches)
        self._clips = min(self._clips + self._batch_size, len(self._read))
        return batch

    def get_state(self) -> dict:
        """`{"clips": how many the stream has given, over all processes, "data": the data's fingerprint}`."""
        return {CLIPS: self._clips, DATA: self._read.fingerprint}

    def set_state(self, state: dict) -> None:
        """Goes to what `get_state` returned, of a loader with any batch size.

        Positions of before counted batches, `{"next_index": k}`: they are taken for batches of this loader's size.

        Raises:
          ValueError: it is no position.
        """
        if not isinstance(state, dict):
            raise ValueError(f"the data position is {state!r}, no dict")
        self._go_to(_whole(state[CLIPS] if CLIPS in state else _whole(state.get(BATCHES)) * self._batch_size))

    def _go_to(self, clips: int) -> None:
        self._clips = clips
        starts = grain.MapDataset.range(min(clips, len(self._read)), len(self._read), self._batch_size)
        self._batches = iter(starts.map(self._load).to_iter_dataset(self._options))

    def _load(self, start: int) -> dict[str, np.ndarray]:
        """This process's part of the batch that begins at a place of the stream."""
        (index, count), size = self._part, min(self._batch_size, len(self._read) - start)
        return self._read(range(start + index * size // count, start + (index + 1) * size // count))


class _ReadClips:
    """Turns places of the stream into clips, augmented.

    Args:
      dataset: the clips.
      order: the index of the clip at each place.
      seed, shift, gain: of the augmentation.
      crops: where each place of the stream has another part of its clip; None for whole clips.
    """

    def __init__(
        self,
        dataset: Dataset,
        order: grain.MapDataset[int],
        seed: int,
        shift: int,
        gain: tuple[float, float],
        crops: Crops | None = None,
    ):
        self._crops = crops
        self._dataset = dataset
        self._order = order
        self._seed = seed
        self._shift = shift
        self._gain = gain

    def __len__(self) -> int:
        return len(self._order)

    @property
    def fingerprint(self) -> str:
        """Changes with the content of the data."""
        return self._dataset.fingerprint

    def __call__(self, places: range) -> dict[str, np.ndarray]:
        indices = [cast(int, self._order[place]) for place in places]
        if self._crops is not None:
            return self._crops.read(indices, [(self._seed, place) for place in places])
        batch = self._dataset.read(indices)
        if self._shift or self._gain != (1.0, 1.0):
            offsets = [self._augment(audio, place) for audio, place in zip(batch["audio"], places, strict=True)]
            batch["recorded"] = np.clip(batch["recorded"] + np.array(offsets, np.int32), 0, self._dataset.length)
        return batch

    def _augment(self, audio: np.ndarray, place: int) -> int:
        """Changes a clip by its seed and place in the run alone, so that resuming repeats it; returns the shift."""
        rng = np.random.default_rng((self._seed, place))
        offset = int(rng.integers(-self._shift, self._shift, endpoint=True))
        moved = shifted(audio, offset)
        moved *= np.float32(rng.uniform(*self._gain))
        np.clip(moved, -1, 1, out=audio)
        return offset


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < sys.maxsize:
        raise ValueError(f"the data position is {value!r}, no number of clips")
    return value


def shifted(audio: np.ndarray, offset: int) -> np.ndarray:
    """Moves `(L,)` audio later by `offset` samples (earlier if negative), zeros moving in."""
    result = np.zeros_like(audio)
    kept = max(len(audio) - abs(offset), 0)
    start = max(offset, 0)
    result[start : start + kept] = audio[start - offset : start - offset + kept]
    return result
