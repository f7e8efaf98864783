"""Source "folder": any audio files, with or without a folder for each class, resampled and mixed down to mono."""

from pathlib import PurePosixPath

import librosa
import numpy as np

from diffwave_jax import recording
from diffwave_jax.data.listing import Files
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.data.splits import (
    ClipFile,
    Splits,
    has_lists,
    is_list,
    split_by_lists,
    split_by_name,
    split_in_order,
)
from diffwave_jax.errors import UserError

# libsndfile's formats by their usual suffixes, and those that librosa opens where ffmpeg is installed.
SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("wav", "wave", "w64", "rf64", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "aifc", "au", "snd", "caf"),
        *("nist", "sph", "voc", "m4a", "mp4", "aac", "wma", "webm", "mka", "ac3", "amr"),
    )
)
UNLABELLED = "unlabelled"
SPARE_SECONDS = 0.1


def wanted(name: str, spec: DataSpec) -> bool:
    """Whether a file is audio, by its suffix, or one of the lists of held-out clips."""
    del spec
    return PurePosixPath(name).suffix.lower() in SUFFIXES or is_list(name)


def find(files: Files, spec: DataSpec) -> tuple[tuple[str, ...], Splits, list[str]]:
    """Returns the labels' names, the clips by split, and remarks on what was found.

    Every folder that holds audio is a class, if there are at least two and no file lies outside of them.
    """
    names = [name for name in files.paths if not is_list(name)]
    if not names:
        raise UserError(
            f"data.archive: no audio file below {spec.archive}{_first(files)}; give a folder that holds some"
        )
    parents = [PurePosixPath(name).parent.name for name in names]
    found = set(parents)
    labelled = len(found) > 1 and "" not in found
    classes = _in_order(found, spec.classes) if labelled else (UNLABELLED,)
    labels = parents if labelled else [UNLABELLED] * len(names)
    clips = [ClipFile(name, files.paths[name], label) for name, label in zip(names, labels, strict=True)]
    if has_lists(files):
        return classes, *split_by_lists(clips, files)
    return classes, split_in_order(clips) if spec.windows else split_by_name(clips), []


def read(clip: ClipFile, spec: DataSpec) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns a clip's float32 audio `(n,)`, mono at the wanted rate, and remarks on it.

    Raises `CorruptClipError` where it cannot be read.
    """
    everything = spec.trim_db or spec.windows or spec.whole
    seconds = None if everything else spec.length / spec.sample_rate + SPARE_SECONDS
    found = recording.read(clip.path, seconds)
    samples = librosa.resample(found.samples, orig_sr=found.sample_rate, target_sr=spec.sample_rate)
    return samples, found.remarks


def _first(files: Files) -> str:
    """Why the first file that is left out is."""
    return next((f" ({name}: {reason})" for name, reason in files.left_out.items()), "")


def _in_order(found: set[str], words: tuple[str, ...]) -> tuple[str, ...]:
    """The order of `data.classes` if these are they, so that a digit's label is the digit; else by name."""
    return words if found == set(words) else tuple(sorted(found))
