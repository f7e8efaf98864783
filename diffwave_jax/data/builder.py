"""The TFDS data sets: clips of one length as int16 array records, with label, speaker and name."""

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np
import tensorflow_datasets as tfds

from diffwave_jax.data import audio, folder, ljspeech, speech_commands
from diffwave_jax.data.archive import open_files
from diffwave_jax.data.report import CLIPPED_CLIP, Report
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.data.splits import ClipFile, name_bytes
from diffwave_jax.download import OnProgress
from diffwave_jax.errors import UserError
from diffwave_jax.recording import CorruptClipError

UNPACKED = "unpacked-"
NUM_THREADS = 4
CHUNK = 256

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class _Read:
    """What came of a file: its clips, of which some samples were `clipped`, and what to tell."""

    clips: tuple[audio.Fitted, ...] = ()
    clipped: int = 0
    remark: str = ""


class ClipBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares the clips that a `DataSpec` asks for.

    A subclass names its `source`, a module of three functions: `wanted(name, spec)` tells which files of an archive
    count, `find(files, spec)` gives the classes, the clips of each split and remarks, `read(clip, spec)` one clip's
    audio and remarks on it.

    Args:
      spec: the clips wanted; SC09 at its own rate for None.
      progress: called with (clips done, clips in all).
      on_download: called with (bytes done, bytes in all) while the data is downloaded.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos: dict = {}  # noqa: RUF012 - TFDS downloads nothing here, and need not look for a table of checksums
    source: ModuleType
    description: str

    def __init__(
        self,
        *,
        spec: DataSpec | None = None,
        progress: Progress | None = None,
        on_download: OnProgress | None = None,
        **kwargs,
    ):
        self._spec = spec or DataSpec()
        self._progress = progress
        self._on_download = on_download
        self._report = Report()
        self._done = 0
        self._total = 0
        super().__init__(**kwargs)

    def download_and_prepare(self, **kwargs) -> None:
        """Prepares the data as TFDS does; an archive's files lie in a passing folder meanwhile."""
        with tempfile.TemporaryDirectory(prefix=UNPACKED, dir=self.data_dir_root) as scratch:
            self._scratch = Path(scratch)
            super().download_and_prepare(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "audio": tfds.features.Tensor(shape=self._shape, dtype=np.int16, encoding="bytes"),
            "label": tfds.features.ClassLabel(),
            "speaker": tfds.features.Text(),
            "name": tfds.features.Text(),
            "recorded": np.int32,
        }
        return tfds.core.DatasetInfo(
            builder=self, description=self.description, features=tfds.features.FeaturesDict(features)
        )

    @property
    def _shape(self) -> tuple[int | None]:
        return (None if self._spec.whole else self._spec.length,)

    def _split_generators(self, _: tfds.download.DownloadManager) -> dict[str, Iterator]:
        spec, report = self._spec, self._report
        archive = spec.path or self.source.fetch(spec.cache / "downloads", self._on_download)
        files = open_files(archive, lambda name: self.source.wanted(name, spec), self._scratch)
        classes, splits, remarks = self.source.find(files, spec)
        report.classes, report.skipped, report.notes = list(classes), files.left_out, [*files.remarks, *remarks]
        label = cast(tfds.features.FeaturesDict, self.info.features)["label"]
        cast(tfds.features.ClassLabel, label).names = _tfds_names(classes)
        self._total = sum(map(len, splits.values()))
        return {split: self._generate_examples(split, clips) for split, clips in splits.items() if clips}

    def _generate_examples(self, split: str, clips: list[ClipFile]) -> Iterator[tuple[bytes, dict]]:
        labels = {name: number for number, name in enumerate(self._report.classes)}
        digest = hashlib.sha256()
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            for start in range(0, len(clips), CHUNK):
                chunk = clips[start : start + CHUNK]
                for clip, found in zip(chunk, pool.map(self._read, chunk), strict=True):
                    self._note(split, clip, found)
                    for number, fitted in enumerate(found.clips):
                        example = _example(clip, labels[clip.label], fitted)
                        if number:
                            example["name"] += b"#%d" % number
                        digest.update(b"%s\0%d\0" % (example["name"], example["label"]))
                        digest.update(fitted.samples.data)
                        yield example["name"], example
        self._finish(split, clips, digest.hexdigest())

    def _read(self, clip: ClipFile) -> _Read:
        try:
            samples, remarks = self.source.read(clip, self._spec)
        except CorruptClipError as error:
            return _Read(remark=str(error))
        clips = tuple(audio.fit(window, self._spec) for window in audio.windows(samples, self._spec))
        if not clips:
            return _Read(remark=f"its {len(samples)} samples do not fill a window of {self._spec.length}")
        clipped = sum(clip.clipped for clip in clips)
        if clipped > CLIPPED_CLIP * len(samples):
            remarks = (*remarks, f"{clipped} samples lie beyond full scale and are clipped")
        return _Read(clips, clipped, "; ".join(remarks))

    def _note(self, split: str, clip: ClipFile, found: _Read) -> None:
        report = self._report
        if not found.clips:
            report.skipped[clip.name] = found.remark
        elif found.remark:
            report.remarks[clip.name] = found.remark
        report.sizes[split] = report.sizes.get(split, 0) + len(found.clips)
        report.samples += sum(len(fitted.samples) for fitted in found.clips)
        report.clipped += found.clipped
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)

    def _finish(self, split: str, clips: list[ClipFile], fingerprint: str) -> None:
        report = self._report
        skipped = [clip.name for clip in clips if clip.name in report.skipped]
        if len(skipped) == len(clips):
            raise UserError(
                f"data.archive: not one of {len(clips)} clips can be read as audio; {skipped[0]}: "
                f"{report.skipped[skipped[0]]}"
            )
        report.fingerprints[split] = fingerprint
        report.write(Path(self.data_path))


class SC09(ClipBuilder):
    """The ten spoken digits of Speech Commands v0.02, or any archive in its layout."""

    name = "sc09"
    description = "Spoken digits of Speech Commands (Warden 2018), one second each. CC BY 4.0."
    source = speech_commands


class AudioFolder(ClipBuilder):
    """Audio files of any kind."""

    name = "audio_folder"
    description = "Clips of audio files, of one length and sample rate."
    source = folder


class LJSpeech(ClipBuilder):
    """The LJ Speech data set."""

    name = "lj_speech"
    description = "One reader's English utterances (Ito and Johnson 2017). Public domain."
    source = ljspeech


def _example(clip: ClipFile, label: int, fitted: audio.Fitted) -> dict:
    return {
        "audio": fitted.samples,
        "label": label,
        "speaker": name_bytes(clip.speaker),
        "name": name_bytes(clip.name),
        "recorded": fitted.recorded,
    }


def _tfds_names(classes: tuple[str, ...]) -> list[str]:
    """The classes' names, or their numbers where TFDS's file of one name a line would not give the names back."""
    plain = all(name.isprintable() and name == name.strip() != "" for name in classes)
    return list(classes) if plain else [str(number) for number in range(len(classes))]
