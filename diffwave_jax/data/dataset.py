"""`open_dataset`: prepared clips with random access."""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from filelock import FileLock

from diffwave_jax.data.archive import content_key
from diffwave_jax.data.audio import to_float
from diffwave_jax.data.builder import SC09, UNPACKED, AudioFolder, ClipBuilder, LJSpeech, Progress
from diffwave_jax.data.folder import UNLABELLED
from diffwave_jax.data.records import Records
from diffwave_jax.data.report import Report
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.download import OnProgress
from diffwave_jax.errors import UserError, printable
from diffwave_jax.files import cannot_write, make_folder, writing
from diffwave_jax.models import labels

BUILDERS = {"speech_commands": SC09, "folder": AudioFolder, "ljspeech": LJSpeech}
FORMAT = 3  # of what is kept: preparations of before are not looked at

_log = logging.getLogger(__name__)


class Dataset:
    """Clips of one split, all of one length, or recordings kept whole.

    Attributes:
      sample_rate: in Hz.
      length: samples per clip.
      classes: names of the classes, in order; empty where the clips have none (their class is then 0).
      speakers: names of the speakers that labels tell apart, in order; empty if they do not.
      skipped: `{clip: reason}` of the files, in any split, left out because they cannot be read.
      fingerprint: digest of the clips' names, labels and samples; "" where it is not known.
    """

    def __init__(
        self,
        records: Records,
        spec: DataSpec,
        classes: tuple[str, ...],
        skipped: dict[str, str],
        speakers: tuple[str, ...] = (),
        fingerprint: str = "",
        folder: Path | None = None,
    ):
        self._records = records
        self.sample_rate = spec.sample_rate
        self.length = spec.length
        self.classes = classes
        self.speakers = speakers
        self.skipped = skipped
        self.fingerprint = fingerprint
        self._folder = folder

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
        """Several clips: `{"audio": float32 (n, length) in [-1, 1), "label": int32 (n,), "recorded": int32 (n,)}`.

        `recorded` counts the samples before the zeros that fill up a shorter clip. Labels are classes, or with
        `speakers` what `diffwave_jax.models.labels` says; UserError for another speaker.
        """
        clips = self._read(indices)
        audio = np.array([clip["audio"] for clip in clips], np.int16).reshape(-1, self.length)
        label = np.array([self._label(clip) for clip in clips], np.int32)
        recorded = np.array([clip["recorded"] for clip in clips], np.int32)
        return {"audio": to_float(audio), "label": label, "recorded": recorded}

    def recordings(self, indices: Sequence[int]) -> list[tuple[np.ndarray, str]]:
        """Several clips as int16 samples (n,), of as many lengths if they were kept whole, and their files' names."""
        return [(clip["audio"], _text(clip["name"])) for clip in self._read(indices)]

    def _read(self, indices: Sequence[int]) -> Sequence[dict]:
        with self._damage_named():
            return self._records.__getitems__([int(index) for index in indices])

    def _label(self, clip: dict) -> int:
        if not self.speakers:
            return clip["label"]
        speaker = _text(clip["speaker"])
        if speaker not in self.speakers:
            raise UserError(
                f"data.speakers: {_text(clip['name'])} is spoken by {speaker!r}, who is not one of "
                f"{', '.join(self.speakers)}; name every speaker of the data"
            )
        return labels.join(clip["label"], self.speakers.index(speaker), max(1, len(self.classes)))

    def clip(self, index: int) -> dict:
        """One clip's record as stored: int16 `audio`, `label`, and `speaker` and file `name` as text."""
        with self._damage_named():
            record = self._records[index]
        return record | {field: _text(record[field]) for field in ("speaker", "name")}

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        """A block that reads records; they carry checksums."""
        try:
            yield
        except (ValueError, RuntimeError, OSError) as error:
            raise UserError(
                f"the prepared clips in {self._folder} are damaged ({_short(error)}): remove this folder, and they are "
                "prepared anew"
            ) from error


def open_dataset(
    config, split: str = "train", *, progress: Progress | None = None, on_download: OnProgress | None = None
) -> Dataset:
    """Opens one split of the data that `config` (a config's `data` section) describes, preparing it on first use.

    Where it is prepared already nothing is written, so that the folder may be on a read-only disk.

    Args:
      config: mapping with the fields of `DataSpec`, and `speakers` if labels are to tell them apart; others are left
        alone.
      split: `"train"`, `"validation"` or `"test"`.
      progress: called with (clips done, clips in all) while preparing.
      on_download: called with (bytes done, bytes in all) while Speech Commands is downloaded before.

    Raises:
      UserError: the data is missing, cannot be downloaded or prepared, holds nothing to use, or is of another sample
        rate.
    """
    spec = DataSpec.from_config(config)
    builder, report = _prepared(spec, progress, on_download)
    if split not in report.sizes:
        raise UserError(f"data.archive: no clip is in the {split!r} split; there are {', '.join(report.sizes)}")
    for line in report.lines():
        _log.warning(line)
    classes = () if report.classes == [UNLABELLED] else tuple(report.classes)
    speakers = tuple(config.get("speakers", ()))
    records = Records(builder, split)
    fingerprint = report.fingerprints[split]
    return Dataset(records, spec, classes, report.skipped, speakers, fingerprint, Path(builder.data_path))


def _prepared(spec: DataSpec, progress: Progress | None, on_download: OnProgress | None) -> tuple[ClipBuilder, Report]:
    """The builder with its records on disk; of several processes one makes them and the others wait."""
    builder_class = BUILDERS[spec.source]
    folder = spec.cache / _key(spec, builder_class)

    def make() -> ClipBuilder:
        return builder_class(
            spec=spec, progress=progress, on_download=on_download, data_dir=folder, file_format="array_record"
        )

    found = _opened(make, folder)
    if isinstance(found, tuple):
        return found
    make_folder(folder)
    with FileLock(folder / "lock"):
        found = _opened(make, folder)  # another process may have been faster
        if isinstance(found, tuple):
            return found
        if found:
            _log.warning(printable(f"data.data_dir: {folder} is damaged ({found}) and is prepared anew"))
        with _writing(folder), _quiet():
            _clear(folder, builder_class)
            make().download_and_prepare(download_dir=spec.cache / "downloads")
        found = _opened(make, folder)
        if not isinstance(found, tuple):
            raise UserError(f"data.data_dir: what was written to {folder} reads as damaged ({found}): name another")
        return found


def _opened(make: Callable[[], ClipBuilder], folder: Path) -> tuple[ClipBuilder, Report] | str:
    """The builder and report of a preparation, or what is wrong with it, "" where there is none."""
    if not any(folder.glob("*/*/")):
        return ""
    try:
        builder = make()
        if not builder.data_path.exists():
            return ""
        report = Report.read(Path(builder.data_path))
        for split, size in report.sizes.items():
            records = Records(builder, split)
            if len(records) != size or not records[0]:
                return f"{len(records)} of {size} clips"
        return builder, report
    except Exception as error:  # TFDS, ArrayRecord and JSON each have their own for damaged files
        return _short(error)


def _key(spec: DataSpec, builder_class: type[ClipBuilder]) -> str:
    """Names a preparation: another one for another archive, length, rate, ..."""
    content = content_key(spec.path, lambda name: builder_class.source.wanted(name, spec)) if spec.path else "download"
    shaping = dataclasses.asdict(spec) | {"archive": content, "data_dir": None, "format": FORMAT}
    if spec.whole:
        shaping["length"] = None  # what is cut from recordings is no part of the preparation
    else:
        del shaping["whole"]
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
    return f"{spec.source}-{spec.sample_rate}hz-{'whole' if spec.whole else spec.length}-{digest[:16]}"


def _clear(folder: Path, builder_class: type[ClipBuilder]) -> None:
    """Clears what a killed preparation left, or a damaged one."""
    for leftover in [*folder.glob(f"{UNPACKED}*"), folder / builder_class.name]:
        if leftover.exists():
            shutil.rmtree(leftover)


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """`files.writing`, which also knows what ArrayRecord says where it cannot write a file in the folder."""
    try:
        with writing(folder):
            yield
    except RuntimeError as error:
        if f"writing {folder}" not in str(error):
            raise
        raise cannot_write(folder, RuntimeError(str(error).partition("; writing ")[0])) from error


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS from printing and librosa from warning: callers get progress, and a report of what was left out."""
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="diffwave_jax")
        warnings.filterwarnings("ignore", module="librosa")
        yield
