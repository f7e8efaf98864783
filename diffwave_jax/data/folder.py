"""Source "folder": any audio files, with or without a folder for each class, resampled and mixed down to mono."""

from pathlib import Path, PurePosixPath

import audioread
import librosa
import numpy as np
import soundfile

from diffwave_jax.data import audio
from diffwave_jax.data.archive import list_files
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.data.splits import LISTS, ClipFile, has_lists, split_by_lists, split_by_name
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
    return PurePosixPath(name).suffix.lower() in SUFFIXES or name in LISTS.values()


def find(root: Path, spec: DataSpec) -> tuple[tuple[str, ...], dict[str, list[ClipFile]]]:
    """Returns the labels' names and the clips by split.

    Every folder that holds audio is a class, if there are at least two and no file lies outside of them.
    """
    names = list_files(root, lambda name: wanted(name, spec) and name not in LISTS.values())
    if not names:
        raise UserError(f"data.archive: no audio file below {spec.archive}; give a folder that holds some")
    parents = [PurePosixPath(name).parent.name for name in names]
    found = set(parents)
    labelled = len(found) > 1 and "" not in found
    classes = _in_order(found, spec.classes) if labelled else (UNLABELLED,)
    labels = parents if labelled else [UNLABELLED] * len(names)
    clips = [ClipFile(name, root / name, label) for name, label in zip(names, labels, strict=True)]
    return classes, split_by_lists(clips, root) if has_lists(root) else split_by_name(clips)


def read(clip: ClipFile, spec: DataSpec) -> np.ndarray:
    """Returns a clip's float32 audio `(n,)`, mono at the wanted rate; `CorruptClipError` where it cannot be read."""
    seconds = None if spec.trim_db else spec.length / spec.sample_rate + SPARE_SECONDS
    try:
        samples, rate = audio.read(clip.path, seconds)
    except audio.UnknownFormatError:
        samples, rate = _read_with_librosa(clip.path, seconds)
    return librosa.resample(samples, orig_sr=rate, target_sr=spec.sample_rate)


def _read_with_librosa(path: Path, seconds: float | None) -> tuple[np.ndarray, int]:
    """For what libsndfile does not know: librosa asks ffmpeg or the system's codecs."""
    try:
        samples, rate = librosa.load(path, sr=None, mono=True, duration=seconds)
    except (soundfile.SoundFileError, audioread.DecodeError, EOFError, OSError) as error:
        raise audio.CorruptClipError("no decoder knows its format") from error
    return audio.checked(samples), rate


def _in_order(found: set[str], words: tuple[str, ...]) -> tuple[str, ...]:
    """The order of `data.classes` if these are they, so that a digit's label is the digit; else by name."""
    return words if found == set(words) else tuple(sorted(found))
