"""Real speech as a classifier hears it: what generated clips are compared with, worked out once and kept."""

import dataclasses
import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from diffwave_jax import data
from diffwave_jax.data.archive import content_key
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.download import OnProgress
from diffwave_jax.errors import UserError, printable
from diffwave_jax.evaluation.recognition import BUNDLED, Progress, Recogniser, Recognition
from diffwave_jax.files import complete, make_folder

SETS = {
    "sc09": {"source": "speech_commands", "sample_rate": 16000, "length": 16000},
    "fsdd": {"source": "speech_commands", "sample_rate": 8000, "length": 8000},
}
CHUNK = 500  # clips in memory at once

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Heard:
    """A split of the real clips: what the classifier hears, and the true classes `labels` (N,)."""

    recognition: Recognition
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Reference:
    """Real speech.

    Attributes:
      name: of the data.
      train: the training split, which generated clips are compared with.
      test: the test split, which shows what real clips score.
    """

    name: str
    train: Heard
    test: Heard


def load_reference(
    name: str,
    recogniser: Recogniser,
    archive: str = "",
    progress: Progress | None = None,
    on_download: OnProgress | None = None,
) -> Reference:
    """The reference of a name in `SETS`, or of any archive or folder with a folder of audio for each word.

    What the classifier hears is kept beside the prepared clips, one file for each classifier. FSDD's, as the bundled
    classifier hears it, comes with the package: it needs no archive.

    Args:
      name: "sc09", "fsdd", or a path.
      recogniser: the classifier.
      archive: path of the named data; empty for a download of Speech Commands v0.02.
      progress: called with (clips done, clips in all) while the classifier listens.
      on_download: called with (bytes done, bytes in all) during a download.

    Raises:
      UserError: the data is missing, needs an archive, or what is heard cannot be kept.
    """
    if name == "fsdd" and not archive:
        return _bundled(recogniser)
    any_folder = {"source": "folder", "sample_rate": recogniser.sample_rate, "length": recogniser.length}
    fields = SETS.get(name, any_folder)
    spec = DataSpec(archive=(archive if name in SETS else name) or None, classes=recogniser.classes, **fields)
    path = spec.cache / "references" / f"{_key(spec, recogniser)}.npz"
    if path.exists():
        try:
            return _read(name, path)
        except Exception as error:  # zip, zlib and NumPy each have their own for damaged files
            _log.warning(printable(f"{path} is damaged ({error}) and is made anew"))
    make_folder(path.parent)  # before the work, in case it cannot be made
    splits = {split: _hear(spec, split, recogniser, progress, on_download) for split in ("train", "test")}
    save(path, splits, recogniser)
    return Reference(name, **splits)


def save(path: Path, splits: dict[str, Heard], recogniser: Recogniser, dtype: DTypeLike = np.float32) -> None:
    """Writes what the classifier hears in the splits "train" and "test"; the file appears complete."""
    arrays: dict[str, Any] = {"fingerprint": np.array(recogniser.fingerprint)}
    for split, heard in splits.items():
        arrays[f"{split}_features"] = heard.recognition.features.astype(dtype)
        arrays[f"{split}_logits"] = heard.recognition.logits.astype(dtype)
        arrays[f"{split}_labels"] = heard.labels.astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with complete(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _bundled(recogniser: Recogniser) -> Reference:
    path = Path(str(BUNDLED)) / "reference.npz"
    with path.open("rb") as file, np.load(file) as arrays:  # a damaged file is closed too
        if arrays["fingerprint"] != recogniser.fingerprint:
            raise UserError(
                "FSDD as this classifier hears it is not known: give --archive with the path of fsdd.tar.gz"
            )
    return _read("fsdd", path)


def _read(name: str, path: Path) -> Reference:
    with path.open("rb") as file, np.load(file) as arrays:  # a damaged file is closed too
        splits = {
            split: Heard(
                Recognition(
                    arrays[f"{split}_features"].astype(np.float64), arrays[f"{split}_logits"].astype(np.float64)
                ),
                arrays[f"{split}_labels"],
            )
            for split in ("train", "test")
        }
    return Reference(name, **splits)


def _hear(
    spec: DataSpec, split: str, recogniser: Recogniser, progress: Progress | None, on_download: OnProgress | None
) -> Heard:
    dataset = data.open_dataset(dataclasses.asdict(spec), split, on_download=on_download)
    if dataset.classes != recogniser.classes:
        words = ", ".join(recogniser.classes)
        raise UserError(f"the reference {spec.archive} must have a folder of audio for each of {words}")
    heard, labels = [], []
    for start in range(0, len(dataset), CHUNK):
        batch = dataset.read(range(start, min(start + CHUNK, len(dataset))))
        heard.append(recogniser(recogniser.fit(batch["audio"], spec.sample_rate)))
        labels.append(batch["label"])
        if progress:
            progress(min(start + CHUNK, len(dataset)), len(dataset))
    features, logits = (np.concatenate([getattr(part, name) for part in heard]) for name in ("features", "logits"))
    return Heard(Recognition(features, logits), np.concatenate(labels))


def _key(spec: DataSpec, recogniser: Recogniser) -> str:
    content = content_key(spec.path, lambda name: True) if spec.path else "download"
    return hashlib.sha256(repr((spec, content, recogniser.fingerprint)).encode()).hexdigest()[:32]
