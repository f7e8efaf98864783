"""The TFDS data sets: clips of one length as int16 array records, with label, speaker and name."""

import json
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import tensorflow_datasets as tfds

from diffwave_jax.data import audio, folder, speech_commands
from diffwave_jax.data.archive import unpack
from diffwave_jax.data.download import URL_INFOS, download
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.data.splits import ClipFile
from diffwave_jax.errors import UserError

SKIPPED = "skipped.json"
UNPACKED = "unpacked-"
NUM_THREADS = 4
CHUNK = 256

Progress = Callable[[int, int], None]


class ClipBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares the clips that a `DataSpec` asks for.

    A subclass names its `source`, a module of three functions: `wanted(name, spec)` tells which files of an archive
    count, `find(root, spec)` gives the classes and the clips of each split, `read(clip, spec)` one clip's audio.
    `progress` is called with (clips done, clips in all).
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos = URL_INFOS
    source: ModuleType
    description: str

    def __init__(self, *, spec: DataSpec | None = None, progress: Progress | None = None, **kwargs):
        self._spec = spec or DataSpec()
        self._progress = progress
        self._skipped = {}
        self._done = 0
        self._total = 0
        super().__init__(**kwargs)

    def download_and_prepare(self, **kwargs) -> None:
        """As in TFDS; an archive's files lie in a passing folder meanwhile."""
        with tempfile.TemporaryDirectory(prefix=UNPACKED, dir=self.data_dir_root) as scratch:
            self._scratch = Path(scratch)
            super().download_and_prepare(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "audio": tfds.features.Tensor(shape=(self._spec.length,), dtype=np.int16, encoding="bytes"),
            "label": tfds.features.ClassLabel(),
            "speaker": tfds.features.Text(),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self, description=self.description, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        archive = self._spec.path or download(dl_manager, show_progress=self._progress is not None)
        root = unpack(archive, lambda name: self.source.wanted(name, self._spec), self._scratch)
        classes, splits = self.source.find(root, self._spec)
        self.info.features["label"].names = list(classes)
        self._total = sum(map(len, splits.values()))
        return {split: self._generate_examples(clips) for split, clips in splits.items() if clips}

    def _generate_examples(self, clips: list[ClipFile]) -> Iterator[tuple[str, dict]]:
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            for start in range(0, len(clips), CHUNK):
                chunk = clips[start : start + CHUNK]
                for clip, samples in zip(chunk, pool.map(self._samples, chunk), strict=True):
                    if samples is not None:
                        yield clip.name, _example(clip, samples)
                    self._report()
        self._write_skipped(clips)

    def _samples(self, clip: ClipFile) -> np.ndarray | None:
        try:
            return audio.fit(self.source.read(clip, self._spec), self._spec)
        except audio.CorruptClipError as error:
            self._skipped[clip.name] = str(error)
            return None

    def _report(self) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)

    def _write_skipped(self, clips: list[ClipFile]) -> None:
        if all(clip.name in self._skipped for clip in clips):
            first = clips[0].name
            raise UserError(
                f"data.archive: not one of {len(clips)} clips can be read as audio; {first}: {self._skipped[first]}"
            )
        Path(self.data_path, SKIPPED).write_text(json.dumps(self._skipped, indent=1, sort_keys=True))


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


def _example(clip: ClipFile, samples: np.ndarray) -> dict:
    return {"audio": samples, "label": clip.label, "speaker": clip.speaker, "name": clip.name}
