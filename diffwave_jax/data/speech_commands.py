"""Source "speech_commands": `<word>/<speaker>_nohash_<index>.wav` and two lists, all at one sample rate.

Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018, arXiv:1804.03209.
"""

import posixpath
from pathlib import Path

import numpy as np

from diffwave_jax import recording
from diffwave_jax.data.listing import Files
from diffwave_jax.data.published import Published
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.data.splits import LISTS, ClipFile, Splits, is_list, read_list, split_by_lists
from diffwave_jax.digits import DIGITS
from diffwave_jax.download import OnProgress
from diffwave_jax.errors import UserError

URL = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
SIZE = 2_428_923_189  # bytes
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"

SC09_TRAIN_CLIPS = 31158
V002_LIST_LENGTHS = {"validation": 9981, "test": 11005}


def fetch(folder: Path, on_download: OnProgress | None = None) -> Path:
    """Speech Commands v0.02 in `folder`, downloaded from its publisher if it is not there.

    Args:
      folder: made if need be; of several processes one downloads and the others wait.
      on_download: called with (bytes done, bytes in all) meanwhile.

    Raises:
      UserError: it cannot be had, or is not the published file.
    """
    return Published(URL, SIZE, SHA256).fetch(folder, on_download)


def wanted(name: str, spec: DataSpec) -> bool:
    """Whether a file of the archive is one of the lists or a clip of a word asked for."""
    word, _, file = name.partition("/")
    is_clip = word in spec.classes and "/" not in file and posixpath.splitext(file)[1].lower() == ".wav"
    return is_clip or is_list(name)


def find(files: Files, spec: DataSpec) -> tuple[tuple[str, ...], Splits, list[str]]:
    """Returns the labels' names, the clips by split, and remarks on what was found."""
    clips = [ClipFile(name, path, _word(name)) for name, path in files.paths.items() if not is_list(name)]
    if not clips:
        raise UserError(
            f"data.archive: {spec.archive} has no clip of {', '.join(spec.classes)}; "
            "it must hold a folder of WAV files for each word"
        )
    splits, remarks = split_by_lists(clips, files, concerns=lambda name: _word(name) in spec.classes)
    return spec.classes, splits, [*remarks, *_check_size(len(splits["train"]), files, spec)]


def read(clip: ClipFile, spec: DataSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns a clip's float32 audio `(n,)`, and remarks on it.

    Raises `UserError` where it is of another sample rate, `CorruptClipError` where it cannot be read.
    """
    found = recording.read(clip.path)
    if found.sample_rate != spec.sample_rate:
        raise UserError(
            f"{clip.name} is sampled at {found.sample_rate} Hz but data.sample_rate is {spec.sample_rate} Hz; "
            f"set data.sample_rate to {found.sample_rate}, or data.source to 'folder' to resample"
        )
    return found.samples, found.remarks


def _word(name: str) -> str:
    return name.partition("/")[0]


def _check_size(num_train: int, files: Files, spec: DataSpec) -> list[str]:
    """Tells where v0.02, known by the length of its lists, is not whole."""
    lengths = {split: len(read_list(files, split)) for split in LISTS}
    if lengths == V002_LIST_LENGTHS and set(spec.classes) == set(DIGITS) and num_train != SC09_TRAIN_CLIPS:
        return [
            f"{num_train} training clips found, but SC09 on Speech Commands v0.02 has {SC09_TRAIN_CLIPS}; the copy is "
            "not whole"
        ]
    return []
