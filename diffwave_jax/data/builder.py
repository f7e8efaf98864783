"""The TFDS data sets: clips of one length as int16 records, with label and speaker."""

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from diffwave_jax.data import audio
from diffwave_jax.data.layout import Clip, find_clips, read_list, unpacked
from diffwave_jax.data.spec import DIGITS, PREPARATION_VERSION, DataSpec
from diffwave_jax.errors import UserError

SKIPPED = "skipped.json"
NUM_THREADS = 4
URL = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
URL_INFO = tfds.download.checksums.UrlInfo(
    size=2428923189,
    checksum="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    filename="speech_commands_v0.02.tar.gz",
)
SC09_TRAIN_CLIPS = 31158
V002_LIST_SIZES = {"validation": 9981, "test": 11005}

_log = logging.getLogger(__name__)
Progress = Callable[[int, int], None]


class SC09(tfds.core.GeneratorBasedBuilder):
    """Spoken digits of Speech Commands v0.02 (Warden 2018), or any archive in its layout."""

    name = "sc09"
    VERSION = tfds.core.Version(PREPARATION_VERSION)
    url_infos = {URL: URL_INFO}  # noqa: RUF012  (TFDS reads it from the class)

    def __init__(self, *, spec: DataSpec | None = None, progress: Progress | None = None, **kwargs):
        self._spec = spec or DataSpec()
        self._progress = progress or (lambda done, total: None)
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Short clips of speech, one word each, with the word and the speaker.",
            features=tfds.features.FeaturesDict(
                {
                    "audio": tfds.features.Tensor(shape=(self._spec.length,), dtype=np.int16, encoding="bytes"),
                    "label": tfds.features.ClassLabel(names=list(self._spec.classes)),
                    "speaker": tfds.features.Text(),
                    "name": tfds.features.Text(),
                }
            ),
            homepage="https://arxiv.org/abs/1804.03209",
            license="CC BY 4.0",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        archive = self._spec.path or Path(dl_manager.download(URL))
        with unpacked(archive, self._spec.classes, self._spec.cache) as root:
            clips = find_clips(root, self._spec.classes)
            if not any(clips.values()):
                words = ", ".join(self._spec.classes)
                raise UserError(
                    f"data.archive: no clip found in {archive}; it must hold folders of WAV files named "
                    f"after the words ({words})"
                )
            examples = self._read(clips)
            _warn_of_size(root, self._spec.classes, len(examples["train"]))
        return {split: self._generate_examples(part) for split, part in examples.items() if part}

    def _read(self, clips: dict[str, list[Clip]]) -> dict[str, list[dict]]:
        total = sum(map(len, clips.values()))
        examples, skipped = {split: [] for split in clips}, {}
        with ThreadPoolExecutor(NUM_THREADS) as pool:
            done = 0
            for split, part in clips.items():
                for clip, samples in zip(part, pool.map(self._try_clip, part), strict=True):
                    if isinstance(samples, np.ndarray):
                        examples[split].append(_example(clip, samples))
                    else:
                        skipped[clip.name] = samples
                    done += 1
                    self._progress(done, total)
        if len(skipped) == total:
            name, reason = skipped.popitem()
            raise UserError(f"data.archive: none of its {total} clips can be read as audio, such as {name}: {reason}")
        Path(self.data_path, SKIPPED).write_text(json.dumps(skipped))
        return examples

    def _try_clip(self, clip: Clip) -> np.ndarray | str:
        try:
            return self._read_clip(clip)
        except audio.CorruptClipError as error:
            return str(error)

    def _read_clip(self, clip: Clip) -> np.ndarray:
        samples, rate = audio.read(clip.path)
        audio.check_rate(clip.path, rate, self._spec)
        return audio.fit(samples, self._spec)

    def _generate_examples(self, examples: list[dict]) -> Iterator[tuple[str, dict]]:
        for example in examples:
            yield example["name"], example


def _example(clip: Clip, samples: np.ndarray) -> dict:
    return {"audio": samples, "label": clip.label, "speaker": clip.speaker, "name": clip.name}


def _warn_of_size(root: Path, classes: tuple[str, ...], found: int) -> None:
    sizes = {split: len(read_list(root, split)) for split in V002_LIST_SIZES}
    if sizes == V002_LIST_SIZES and set(classes) == set(DIGITS) and found != SC09_TRAIN_CLIPS:
        _log.warning("SC09 has %d training clips; this copy gave %d", SC09_TRAIN_CLIPS, found)
