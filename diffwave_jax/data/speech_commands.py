"""Source "speech_commands": `<word>/<speaker>_nohash_<index>.wav` and two lists, all at one sample rate.

Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018, arXiv:1804.03209.
"""

import logging
from pathlib import Path, PurePosixPath

import numpy as np

from diffwave_jax.data import audio
from diffwave_jax.data.archive import list_files
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.data.splits import LISTS, ClipFile, read_list, split_by_lists
from diffwave_jax.digits import DIGITS
from diffwave_jax.errors import UserError

SC09_TRAIN_CLIPS = 31158
V002_LIST_LENGTHS = {"validation": 9981, "test": 11005}

_log = logging.getLogger(__name__)


def wanted(name: str, spec: DataSpec) -> bool:
    """Whether a file of the archive is one of the lists or a clip of a word asked for."""
    path = PurePosixPath(name)
    is_clip = len(path.parts) == 2 and path.parts[0] in spec.classes and path.suffix.lower() == ".wav"
    return is_clip or name in LISTS.values()


def find(root: Path, spec: DataSpec) -> tuple[tuple[str, ...], dict[str, list[ClipFile]]]:
    """Returns the labels' names and the clips by split."""
    names = list_files(root, lambda name: wanted(name, spec) and name not in LISTS.values())
    clips = [ClipFile(name, root / name, PurePosixPath(name).parts[0]) for name in names]
    if not clips:
        raise UserError(
            f"data.archive: {spec.archive} has no clip of {', '.join(spec.classes)}; "
            "it must hold a folder of WAV files for each word"
        )
    splits = split_by_lists(clips, root)
    _check_size(len(splits["train"]), root, spec)
    return spec.classes, splits


def read(clip: ClipFile, spec: DataSpec) -> np.ndarray:
    """Returns a clip's float32 audio `(n,)`.

    Raises `UserError` where it is of another sample rate, `CorruptClipError` where it cannot be read.
    """
    samples, rate = audio.read(clip.path)
    if rate != spec.sample_rate:
        raise UserError(
            f"{clip.name} is sampled at {rate} Hz but data.sample_rate is {spec.sample_rate} Hz; "
            f"set data.sample_rate to {rate}, or data.source to 'folder' to resample"
        )
    return samples


def _check_size(num_train: int, root: Path, spec: DataSpec) -> None:
    """Warns where v0.02, known by the length of its lists, is not whole."""
    lengths = {split: len(read_list(root, split)) for split in LISTS}
    if lengths == V002_LIST_LENGTHS and set(spec.classes) == set(DIGITS) and num_train != SC09_TRAIN_CLIPS:
        _log.warning(
            "data.archive: %d training clips found, but SC09 on Speech Commands v0.02 has %d; the copy is not whole",
            num_train,
            SC09_TRAIN_CLIPS,
        )
