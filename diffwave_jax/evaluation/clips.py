"""Clips to evaluate, from a folder of audio files."""

import dataclasses
import logging
import re
from pathlib import Path

import numpy as np

from diffwave_jax import recording
from diffwave_jax.data.listing import readable_files
from diffwave_jax.errors import UserError, printable
from diffwave_jax.evaluation.recognition import Progress, Recogniser
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.generation.choices import class_names
from diffwave_jax.generation.generator import Generator

SUFFIXES = (".wav", ".flac", ".ogg")
SPARE_SECONDS = 60.0  # read beyond a clip's length, so that resampling sees what follows

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Clips:
    """N clips as a classifier takes them.

    Attributes:
      audio: (N, L) float32.
      labels: (N,) the classes they were asked to be, or None where that is not known of each.
      remarks: what the reader of their scores must know, in lines.
      log_likelihood: (N,) of each, by the model that made them, in nats; None where there is none.
    """

    audio: np.ndarray
    labels: np.ndarray | None = None
    remarks: tuple[str, ...] = ()
    log_likelihood: np.ndarray | None = None


def read_folder(folder: Path, recogniser: Recogniser, progress: Progress | None = None) -> Clips:
    """Reads every audio file below a folder, of any sample rate and length, in the order of their names.

    Hidden files are left alone, and a file that links lead to counts once.

    A clip's label is the number in a name like `00003_digit7.wav`, or the word that its folder is named after.

    Args:
      folder: where the files are.
      recogniser: whose rate, length and words the clips are fitted to.
      progress: called with (files read, files in all).

    Raises:
      UserError: there is no such folder, nothing to read in it, or a file that is no audio.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: give a folder of WAV files, or --checkpoint to sample from a model")
    found = readable_files(folder, SUFFIXES)
    for remark in found.remarks:
        _log.warning(printable(f"{folder}: {remark}"))
    paths = [folder / name for name in found.paths]
    if not paths:
        raise UserError(f"no audio in {folder}: it must hold files ending in {', '.join(SUFFIXES)}")
    audio = np.empty((len(paths), recogniser.length), np.float32)
    for index, path in enumerate(paths):
        audio[index] = _read(path, recogniser)
        if progress:
            progress(index + 1, len(paths))
    labels = [label_of(path, recogniser.classes) for path in paths]
    if None not in labels:
        return Clips(audio, np.array(labels))
    first = paths[labels.index(None)].name
    return Clips(
        audio,
        remarks=(
            f"{labels.count(None)} of {len(paths)} clips, {first} the first, do not say which of the classifier's "
            f"{len(recogniser.classes)} classes they were asked to be: no accuracy is given",
        ),
    )


def sample_clips(model: Generator, n: int, seed: int, recogniser: Recogniser, on_step: Progress | None = None) -> Clips:
    """Makes clips as a model usually does, by turns of each of its classes.

    A clip's label is the classifier's class of the same name as the model's.

    Args:
      model: whose clips they are.
      n: how many, at least 1.
      seed: of the sampling.
      recogniser: whose rate, length and words the clips are fitted to.
      on_step: called as `on_step(done, total)` after each step of each batch.
    """
    names = class_names(model.config)
    audio = recogniser.fit(model.generate(n, seed, digit=range(len(names)), on_step=on_step), model.sample_rate)
    unknown = [name for name in names if name not in recogniser.classes]
    if unknown:
        return Clips(
            audio,
            remarks=(f"the classifier does not know the model's classes {', '.join(unknown)}: no accuracy is given",),
        )
    labels = np.array([recogniser.classes.index(name) for name in names], int)
    return Clips(audio, labels[np.arange(n) % len(names)] if names else None)


def draw_clips(
    model: AutoregressiveGenerator, n: int, seed: int, recogniser: Recogniser, progress: Progress | None = None
) -> Clips:
    """Clips of an autoregressive model, with their likelihood.

    Args:
      model: whose clips they are.
      n: how many, at least 1; all are made at once.
      seed: of the drawing.
      recogniser: whose rate, length and words the clips are fitted to.
      progress: called with (samples done, samples in all) of each clip.
    """
    tokens, log_likelihood = [], np.zeros(n)
    done = 0
    for piece in model.stream(n, seed, length=model.length):
        tokens.append(piece.tokens)
        log_likelihood += piece.log_probability.sum(axis=1, dtype=np.float64)
        done += piece.tokens.shape[1]
        if progress:
            progress(done, model.length)
    audio = recogniser.fit(model.code.decode(np.concatenate(tokens, axis=1)), model.sample_rate)
    return Clips(audio, log_likelihood=log_likelihood)


def label_of(path: Path, classes: tuple[str, ...]) -> int | None:
    """The class that a file's name or folder gives, None if neither does."""
    if match := re.search(r"_digit(\d+)", path.stem):
        return int(match.group(1)) if int(match.group(1)) < len(classes) else None
    return classes.index(path.parent.name) if path.parent.name in classes else None


def _read(path: Path, recogniser: Recogniser) -> np.ndarray:
    try:
        found = recording.read(path, recogniser.length / recogniser.sample_rate + SPARE_SECONDS)
    except recording.CorruptClipError as error:
        raise UserError(f"{path} cannot be read as audio ({error}): remove it from the folder") from error
    for remark in found.remarks:
        _log.warning(printable(f"{path} {remark}"))
    return recogniser.fit(found.samples, found.sample_rate)
