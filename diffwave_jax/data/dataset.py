"""`open_dataset`: prepared clips with random access."""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from filelock import FileLock

from diffwave_jax.data.archive import content_key
from diffwave_jax.data.audio import to_float
from diffwave_jax.data.builder import SC09, SKIPPED, UNPACKED, AudioFolder, ClipBuilder, Progress
from diffwave_jax.data.folder import UNLABELLED
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.errors import UserError
from diffwave_jax.models import labels

BUILDERS = {"speech_commands": SC09, "folder": AudioFolder}

_log = logging.getLogger(__name__)


class Dataset:
    """Clips of one split, all of one length.

    Attributes:
      sample_rate: in Hz.
      length: samples per clip.
      classes: names of the classes, in order; empty where the clips have none (their class is then 0).
      speakers: names of the speakers that labels tell apart, in order; empty if they do not.
      skipped: `{clip: reason}` of the files, in any split, left out because they cannot be read.
    """

    def __init__(
        self,
        records: Sequence[dict],
        spec: DataSpec,
        classes: tuple[str, ...],
        skipped: dict[str, str],
        speakers: tuple[str, ...] = (),
    ):
        self._records = records
        self.sample_rate = spec.sample_rate
        self.length = spec.length
        self.classes = classes
        self.speakers = speakers
        self.skipped = skipped

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict:
        """`{"audio": float32 (length,) in [-1, 1), "label": int32}`."""
        batch = self.read([index])
        return {"audio": batch["audio"][0], "label": batch["label"][0]}

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes)

    def read(self, indices: Sequence[int]) -> dict:
        """Several clips: `{"audio": float32 (n, length) in [-1, 1), "label": int32 (n,)}`.

        Labels are classes, or with `speakers` what `diffwave_jax.models.labels` says; UserError for another speaker.
        """
        clips = self._records.__getitems__([int(index) for index in indices])
        audio = np.array([clip["audio"] for clip in clips], np.int16).reshape(-1, self.length)
        return {"audio": to_float(audio), "label": np.array([self._label(clip) for clip in clips], np.int32)}

    def _label(self, clip: dict) -> int:
        if not self.speakers:
            return clip["label"]
        speaker = clip["speaker"].decode()
        if speaker not in self.speakers:
            raise UserError(
                f"data.speakers: {clip['name'].decode()} is spoken by {speaker!r}, who is not one of "
                f"{', '.join(self.speakers)}; name every speaker of the data"
            )
        return labels.join(clip["label"], self.speakers.index(speaker), max(1, len(self.classes)))

    def clip(self, index: int) -> dict:
        """One clip's record as stored: int16 `audio`, `label`, and `speaker` and file `name` as text."""
        record = self._records[index]
        return record | {field: record[field].decode() for field in ("speaker", "name")}


def open_dataset(config, split: str = "train", *, progress: Progress | None = None) -> Dataset:
    """Opens one split of the data that `config` (a config's `data` section) describes, preparing it on first use.

    Args:
      config: mapping with the fields of `DataSpec`, and `speakers` if labels are to tell them apart; others are left
        alone.
      split: `"train"`, `"validation"` or `"test"`.
      progress: called with (clips done, clips in all) while preparing; a download then shows bars of its own.

    Raises `UserError` where the data is missing, holds nothing to use, or is of another sample rate.
    """
    spec = DataSpec.from_config(config)
    builder = _prepared(spec, progress)
    if split not in builder.info.splits:
        raise UserError(f"data.archive: no clip is in the {split!r} split; there are {', '.join(builder.info.splits)}")
    skipped = json.loads(Path(builder.data_path, SKIPPED).read_text())
    if skipped:
        _log.warning(_report(skipped, sum(info.num_examples for info in builder.info.splits.values())))
    names = builder.info.features["label"].names
    classes = () if names == [UNLABELLED] else tuple(names)
    return Dataset(builder.as_data_source(split), spec, classes, skipped, tuple(config.get("speakers", ())))


def _prepared(spec: DataSpec, progress: Progress | None) -> ClipBuilder:
    """The builder with its records on disk; of several processes one makes them and the others wait."""
    builder_class = BUILDERS[spec.source]
    folder = spec.cache / _key(spec, builder_class)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"data.data_dir: {spec.cache} cannot be written ({error.strerror}); name another") from error
    with FileLock(folder / "lock"):
        builder = builder_class(spec=spec, progress=progress, data_dir=folder, file_format="array_record")
        if not builder.data_path.exists():
            _remove_leftovers(folder)
            with _quiet():
                builder.download_and_prepare(download_dir=spec.cache / "downloads")
    return builder


def _key(spec: DataSpec, builder_class: type[ClipBuilder]) -> str:
    """Names a preparation: another one for another archive, length, rate, ..."""
    content = content_key(spec.path, lambda name: builder_class.source.wanted(name, spec)) if spec.path else "download"
    shaping = dataclasses.asdict(spec) | {"archive": content, "data_dir": None}
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
    return f"{spec.source}-{spec.sample_rate}hz-{spec.length}-{digest[:16]}"


def _remove_leftovers(folder: Path) -> None:
    """Clears what a killed preparation left."""
    for leftover in [*folder.glob(f"{UNPACKED}*"), *folder.glob("*/incomplete.*")]:
        shutil.rmtree(leftover)


def _report(skipped: dict[str, str], num_read: int, most: int = 5) -> str:
    listed = "; ".join(f"{name} ({reason})" for name, reason in list(skipped.items())[:most])
    more = f"; and {len(skipped) - most} more" if len(skipped) > most else ""
    counts = f"{len(skipped)} of {len(skipped) + num_read} clips"
    return f"data.archive: {counts} cannot be read and are left out: {listed}{more}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS from printing and librosa from warning: callers get progress, and a report of what was left out."""
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="diffwave_jax.data")
        warnings.filterwarnings("ignore", module="librosa")
        yield
