"""`open_dataset`: prepared clips with random access."""

import contextlib
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from filelock import FileLock

from diffwave_jax.data.audio import to_float
from diffwave_jax.data.builder import SC09, SKIPPED, Progress
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.errors import UserError

SPLITS = ("train", "validation", "test")
_log = logging.getLogger(__name__)


class Dataset:
    """Clips of one split, all of one length.

    Attributes:
      sample_rate: in Hz.
      length: samples per clip.
      classes: names of the labels, in order.
      skipped: `{clip: reason}` of the files left out because they could not be read.
    """

    def __init__(self, source: Sequence[dict], spec: DataSpec, classes: Sequence[str], skipped: dict):
        self._source = source
        self.sample_rate = spec.sample_rate
        self.length = spec.length
        self.classes = tuple(classes)
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict:
        """`{"audio": float32 (length,) in [-1, 1), "label": int32}`."""
        batch = self.read([index])
        return {"audio": batch["audio"][0], "label": batch["label"][0]}

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return len(self.classes)

    def read(self, indices: Sequence[int]) -> dict:
        """Several clips: `{"audio": float32 (n, length) in [-1, 1), "label": int32 (n,)}`."""
        clips = self._source.__getitems__([int(index) for index in indices])
        audio = np.array([clip["audio"] for clip in clips], np.int16).reshape(-1, self.length)
        return {"audio": to_float(audio), "label": np.array([clip["label"] for clip in clips], np.int32)}

    def clip(self, index: int) -> dict:
        """One clip's record as stored: int16 `audio`, `label`, and `speaker` and file `name` as text."""
        record = self._source[index]
        return record | {field: record[field].decode() for field in ("speaker", "name")}


def open_dataset(config, split: str = "train", *, progress: Progress | None = None) -> Dataset:
    """Opens one split of the data that `config` (a config's `data` section) describes.

    It is prepared on first use.

    Args:
      config: mapping with the fields of `DataSpec`; others are left alone.
      split: `"train"`, `"validation"` or `"test"`.
      progress: called with (clips done, clips in all) while preparing.

    Raises `UserError` where the data is missing, holds nothing to use, or is of another sample rate.
    """
    spec = DataSpec.from_config(config)
    builder = _prepared(spec, progress)
    if split not in builder.info.splits:
        raise UserError(f"the data has no split {split!r}; it has {', '.join(builder.info.splits)}")
    skipped = json.loads(Path(builder.data_path, SKIPPED).read_text())
    if skipped:
        _log.warning("%d clips could not be read and are left out: %s", len(skipped), ", ".join(skipped))
    source = builder.as_data_source(split)
    return Dataset(source, spec, builder.info.features["label"].names, skipped)


def _prepared(spec: DataSpec, progress: Progress | None) -> tfds.core.DatasetBuilder:
    folder = spec.cache / spec.key()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        builder = SC09(spec=spec, progress=progress, data_dir=folder, file_format="array_record")
        with _quiet():
            builder.download_and_prepare(download_dir=spec.cache / "downloads")
    return builder


@contextlib.contextmanager
def _quiet():
    """Keeps TFDS from printing: the library's callers report progress."""
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        yield
