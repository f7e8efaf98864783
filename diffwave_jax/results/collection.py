"""A folder of results: clips, a picture of them and a gallery page."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from diffwave_jax.doing import doing
from diffwave_jax.files import check_replaceable, make_folder
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.loaded_model import How, LoadedModel
from diffwave_jax.generation.settings import Settings, check_count
from diffwave_jax.results import folder as clips_folder
from diffwave_jax.results import wav
from diffwave_jax.results.gallery import page_name, write_gallery

PICTURE = "grid.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How clips are put into a folder.

    Attributes:
      normalize: scale each clip to a peak of 0.95.
      overwrite: remove the clips that are there, once nothing is wrong with what is asked for.
      command: the command line that asks for them, which the gallery shows.
    """

    normalize: bool = False
    overwrite: bool = False
    command: str | None = None


AS_THEY_ARE = OutputOptions()


@dataclasses.dataclass(frozen=True)
class FolderReport:
    """What a folder holds after a run.

    Attributes:
      clips: number of clips.
      made: how many of them this process made just now.
      clipped_clips: clips with samples outside [-1, 1].
      clipped_samples: those samples.
      gallery: the page to open.
    """

    clips: int
    made: int
    clipped_clips: int
    clipped_samples: int
    gallery: Path


def generate_into(
    folder: Path,
    generator: LoadedModel[How],
    n: int,
    settings: How,
    options: OutputOptions = AS_THEY_ARE,
    *,
    batch_size: int | None = None,
    on_progress: Callable[[float, int], None] | None = None,
) -> FolderReport:
    """Makes those of `n` clips that the folder lacks, then its picture and gallery.

    Every clip is written as soon as its batch is done, so a stopped run loses one batch at most. With several hosts
    each makes its share of the clips, and the first one makes picture and gallery once all are done; they share the
    folder.

    Args:
      folder: made if need be.
      generator: the model.
      n: clips 0 to n - 1.
      settings: how they are made.
      options: how they are put into the folder.
      batch_size: clips at a time; None for what the devices' memory holds.
      on_progress: called as `on_progress(done, total)` in clips after every step; `done` counts parts of clips.

    Raises:
      UserError: a bad setting, a clip is there already that other settings made, or the disk takes no more.
    """
    records = _records(generator, n, settings, options)
    generator.check(settings)  # before anything is removed
    if options.overwrite:
        _clear(folder)
    share = records[jax.process_index() :: jax.process_count()]
    wanted = {record["index"]: record for record in clips_folder.missing(folder, share)}
    _make_ready(folder)

    def on_step(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(len(wanted) * done / total, len(wanted))

    if wanted:
        told = None if on_progress is None else on_step  # a chain that tells of its steps waits for each
        for indices, audio in generator.clips(list(wanted), settings, batch_size=batch_size, on_step=told):
            _write(folder, generator, [wanted[index] for index in indices], audio)
    return _finish(folder, generator, n, list(wanted), options.command)


def save_into(
    folder: Path,
    generator: Generator,
    n: int,
    settings: Settings,
    make: Callable[[], np.ndarray],
    options: OutputOptions = AS_THEY_ARE,
    origin: Mapping[str, str | int] | None = None,
) -> FolderReport:
    """Makes `n` clips in one go, unless the folder holds them, then their picture and gallery.

    Args:
      folder: made if need be.
      generator: the model that makes them.
      n: how many they are.
      settings: how they are made.
      make: returns the clips (n, L).
      options: how they are put into the folder.
      origin: what they are made of, to put on record beside the settings; for example `{"denoised": "voice.wav"}`.

    Raises:
      UserError: other clips are there already, or the disk takes no more.
    """
    records = [{**record, **(origin or {})} for record in _records(generator, n, settings, options)]
    wanted = records if options.overwrite else clips_folder.missing(folder, records)
    _make_ready(folder)
    audio = make() if wanted else np.empty((n, 0))
    if options.overwrite:
        _clear(folder)
    indices = [int(record["index"]) for record in wanted]
    _write(folder, generator, wanted, audio[indices])
    return _finish(folder, generator, n, indices, options.command)


def _make_ready(folder: Path) -> None:
    """Makes the folder; what could not be written into it at the end is an error now, before the work."""
    make_folder(folder)
    for name in (PICTURE, page_name(1)):
        check_replaceable(folder / name)


def _clear(folder: Path) -> None:
    """Removes the numbered clips of a folder, if there is one; with several hosts, before any of them goes on."""
    if jax.process_index() == 0:
        clips_folder.remove_clips(folder)
    _wait_for_all("folder cleared")


def _records(generator: LoadedModel[How], n: int, settings: How, options: OutputOptions) -> list[dict]:
    """What goes with each of `n` clips, so that it could be made again."""
    config = generator.config
    model = f"{config.model.name} {generator.fingerprint}"
    return [
        {"index": index, **settings.on_record(index, config), "model": model, "normalized": options.normalize}
        for index in range(check_count(n))
    ]


def _write(folder: Path, generator: LoadedModel, records: Sequence[Mapping], audio: np.ndarray) -> None:
    for record, clip in zip(records, audio, strict=True):
        clips_folder.write_clip(folder, record, clip, generator.sample_rate)


def _finish(folder: Path, generator: LoadedModel, n: int, made: Sequence[int], command: str | None) -> FolderReport:
    """Picture, gallery and report, by the first host, once every host has written its clips.

    What counts is in the folder now: somebody may have removed clips meanwhile.
    """
    _wait_for_all("clips written")
    paths = {index: path for index, path in clips_folder.clips_in(folder).items() if index < n}
    if paths and jax.process_index() == 0:
        from diffwave_jax.results.grid import MOST, write_grid  # brings Matplotlib, which nobody waits for before

        doing("drawing pictures")
        write_grid(folder / PICTURE, [wav.read(path) for path in list(paths.values())[:MOST]])
        write_gallery(folder, list(paths.values()), _title(generator), PICTURE, command)
    clipped = [count for path in paths.values() if (count := clips_folder.out_of_range(wav.read_record(path)))]
    there = sum(index in paths for index in made)
    return FolderReport(len(paths), there, len(clipped), sum(clipped), folder / page_name(1))


def _title(generator: LoadedModel) -> str:
    name, size = generator.config.model.name, f"{generator.num_parameters / 1e6:.2g} M weights"
    return f"Clips of {name} {generator.fingerprint}: {size}, {generator.sample_rate} Hz"


def _wait_for_all(what: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
