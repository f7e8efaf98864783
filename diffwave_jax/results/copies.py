"""A folder of copy-synthesis: recordings or mel spectrograms, and the audio that a vocoder makes of them."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from diffwave_jax.data.folder import SUFFIXES
from diffwave_jax.data.listing import readable_files
from diffwave_jax.errors import UserError
from diffwave_jax.files import check_replaceable, make_folder
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.settings import Settings
from diffwave_jax.generation.vocoding import front_end
from diffwave_jax.mel import read_array
from diffwave_jax.results import folder as clips_folder
from diffwave_jax.results import wav
from diffwave_jax.results.collection import FolderReport, OutputOptions
from diffwave_jax.results.gallery import page_name, write_gallery

MELS = ".npy"
ORIGINAL = "_original"  # in the name of a recording beside its copy
LARGEST_MEL = 2**28  # bytes of a file


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """What audio is made of.

    Attributes:
      mel: (bands, frames).
      recording: (n,) at the model's rate; None where there is only a mel.
    """

    mel: np.ndarray
    recording: np.ndarray | None = None


def vocode_into(
    folder: Path,
    generator: Generator,
    source: Path,
    settings: Settings,
    options: OutputOptions,
    *,
    on_progress: Callable[[float, int], None] | None = None,
) -> FolderReport:
    """Makes the audio of a recording, of a `.npy` mel spectrogram, or of all of them in a folder, and its gallery.

    One file after another, each written once it is made: a stopped run goes on with the next one. A recording lies
    beside its copy, at the model's rate.

    Args:
      folder: made if need be.
      generator: a vocoder.
      source: the file or the folder.
      settings: how the audio is made.
      options: how it is put into the folder.
      on_progress: called as `on_progress(done, total)` in files after every step; `done` counts parts of files.

    Raises:
      UserError: the model is no vocoder, a setting that it does not have, a file that is neither, no file, or other
        files are in the folder already.
    """
    front_end(generator.config)
    settings.check(generator.config)
    sources = find(source)
    make_folder(folder)
    check_replaceable(folder / page_name(1))
    paths, made, clipped = [], 0, []
    for index, (name, path) in enumerate(sources.items()):
        target, record = folder / _file_name(index, name), _record(generator, name, settings, options)
        original = target.with_stem(target.stem + ORIGINAL)
        if options.overwrite or not clips_folder.is_done(target if target.exists() else None, record):
            told = _steps(on_progress, index, len(sources))
            _make(generator, read(path, generator), (target, original), settings, record, told)
            made += 1
        paths += [path for path in (target, original) if path.exists()]
        clipped += [count for count in [clips_folder.out_of_range(wav.read_record(target))] if count]
    write_gallery(folder, paths, f"Copies by a {generator.config.model.name} vocoder", command=options.command)
    return FolderReport(len(sources), made, len(clipped), sum(clipped), folder / page_name(1))


def find(source: Path) -> dict[str, Path]:
    """{name: recording or mel} of a file, or of a folder and those in it; UserError for none, or what is no file."""
    if not source.is_dir():
        return {source.name: source}
    paths = readable_files(source, {*SUFFIXES, MELS}).paths
    if not paths:
        raise UserError(f"{source} holds neither recordings nor {MELS} mel spectrograms")
    return paths


def read(path: Path, generator: Generator) -> Source:
    """A recording with its mel, or a mel alone; UserError where it is neither."""
    if path.suffix.lower() == MELS:
        return Source(_read_mel(path, generator))
    audio = wav.read_whole_recording(path, generator.sample_rate)
    return Source(generator.mel(audio, generator.sample_rate), audio)


def _read_mel(path: Path, generator: Generator) -> np.ndarray:
    try:
        if path.stat().st_size > LARGEST_MEL:
            raise UserError(f"{path} is larger than {LARGEST_MEL:,} bytes: cut the mel into parts")
        array = read_array(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a NumPy array: give a mel that np.save wrote") from error
    try:
        mel = front_end(generator.config).checked(array)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if len(mel) > 1:
        raise UserError(f"{path} holds {len(mel)} mels: give a file for each")
    return mel[0]


def _make(
    generator: Generator, source: Source, targets: tuple[Path, Path], settings: Settings, record: Mapping, told
) -> None:
    target, original = targets
    audio = generator.vocode(
        source.mel,
        settings.seed,
        settings.steps,
        settings.sampler,
        eta=settings.eta,
        noise_scale=settings.noise_scale,
        levels=settings.levels or None,
        polish=settings.polish,
        match=settings.match,
        on_step=told,
    )[0]
    if source.recording is not None:
        audio = audio[: len(source.recording)]
        samples, _ = wav.to_pcm(source.recording)
        wav.write(original, samples, generator.sample_rate, {"title": f"{record['source']}, the recording"})
    samples, clipped = wav.to_pcm(audio, normalize=record["normalized"])
    wav.write(target, samples, generator.sample_rate, {**record, clips_folder.OUT_OF_RANGE: clipped})


def _file_name(index: int, name: str) -> str:
    return f"{index:05d}_{Path(name).stem}.wav"


def _record(generator: Generator, name: str, settings: Settings, options: OutputOptions) -> dict:
    """What goes with a copy, so that it could be made again."""
    return {
        "title": f"{name}, the copy",
        "source": name,
        "model": f"{generator.config.model.name} {generator.fingerprint}",
        "seed": settings.seed,
        "sampler": settings.sampler,
        "steps": settings.steps,
        "eta": settings.eta,
        "noise_scale": settings.noise_scale,
        **settings.special_on_record(),
        "normalized": options.normalize,
    }


def _steps(on_progress: Callable[[float, int], None] | None, index: int, files: int):
    """What to call with (steps done, steps in all) of one file."""
    return None if on_progress is None else lambda done, total: on_progress(index + done / total, files)
