"""A folder of results: clips, a picture of them and a gallery page."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from diffwave_jax.errors import UserError
from diffwave_jax.files import make_folder
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.settings import Settings
from diffwave_jax.results import folder as clips_folder
from diffwave_jax.results import wav
from diffwave_jax.results.gallery import page_name, write_gallery
from diffwave_jax.results.grid import MOST, write_grid

PICTURE = "grid.png"


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
    generator: Generator,
    n: int,
    settings: Settings,
    *,
    normalize: bool = False,
    overwrite: bool = False,
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
      normalize: scale each clip to a peak of 0.95.
      overwrite: remove the clips that are there first.
      batch_size: clips at a time; None for what the devices' memory holds.
      on_progress: called as `on_progress(done, total)` in clips after every step; `done` counts parts of clips.

    Raises:
      UserError: a bad setting, or a clip is there already that other settings made.
    """
    if n < 1:
        raise UserError(f"n is {n}; ask for at least 1 clip")
    records = [_record(generator, settings, index, normalize) for index in range(n)]
    if overwrite:
        _clear(folder)
    share = records[jax.process_index() :: jax.process_count()]
    wanted = {record["index"]: record for record in clips_folder.missing(folder, share)}
    make_folder(folder)

    def on_step(done: int, total: int) -> None:
        on_progress(len(wanted) * done / total, len(wanted))

    if wanted:
        batches = generator.clips(
            list(wanted), settings, batch_size=batch_size, on_step=on_step if on_progress else None
        )
        for indices, audio in batches:
            for index, clip in zip(indices, audio, strict=True):
                clips_folder.write_clip(folder, wanted[index], clip, generator.sample_rate)
    return _finish(folder, generator, n, made=len(wanted))


def save_into(
    folder: Path,
    generator: Generator,
    n: int,
    settings: Settings,
    make: Callable[[], np.ndarray],
    *,
    normalize: bool = False,
    overwrite: bool = False,
    **made_by,
) -> FolderReport:
    """Makes `n` clips in one go, unless the folder holds them, then their picture and gallery.

    Args:
      folder: made if need be.
      generator: the model that makes them.
      n: how many they are.
      settings: how they are made.
      make: returns the clips (n, L).
      normalize: scale each clip to a peak of 0.95.
      overwrite: remove the clips that are there, once the new ones are made.
      **made_by: what else to put on record, for example `denoised="voice.wav"`.

    Raises:
      UserError: other clips are there already.
    """
    records = [_record(generator, settings, index, normalize) | made_by for index in range(n)]
    wanted = records if overwrite else clips_folder.missing(folder, records)
    make_folder(folder)
    audio = make() if wanted else None
    if overwrite:
        _clear(folder)
    for record in wanted:
        clips_folder.write_clip(folder, record, audio[record["index"]], generator.sample_rate)
    return _finish(folder, generator, n, made=len(wanted))


def _clear(folder: Path) -> None:
    """Removes the numbered clips of a folder, if there is one; with several hosts, before any of them goes on."""
    if jax.process_index() == 0:
        clips_folder.remove_clips(folder)
    _wait_for_all("folder cleared")


def _record(generator: Generator, settings: Settings, index: int, normalize: bool) -> dict:
    """What goes with clip `index`, so that it could be made again."""
    data = generator.config.data
    speaker = settings.speaker_of(index, len(data.speakers))
    return {
        "index": index,
        "digit": settings.digit_of(index),
        **({} if speaker is None else {"speaker": data.speakers[speaker]}),
        "model": f"{generator.config.model.name} {generator.fingerprint}",
        "seed": settings.seed,
        "sampler": settings.sampler,
        "steps": generator.steps_of(settings),
        "eta": settings.eta,
        "guidance": settings.guidance,
        **({} if settings.noise_scale == 1 else {"noise_scale": settings.noise_scale}),
        **({"guided_steps": list(settings.guided_steps)} if settings.guided_steps else {}),
        "normalized": normalize,
    }


def _finish(folder: Path, generator: Generator, n: int, *, made: int) -> FolderReport:
    """Picture, gallery and report, by the first host, once every host has written its clips."""
    _wait_for_all("clips written")
    paths = list(clips_folder.clips_in(folder).values())[:n]
    if jax.process_index() == 0:
        write_grid(folder / PICTURE, [wav.read(path) for path in paths[:MOST]])
        write_gallery(folder, paths, f"Clips from a {generator.config.model.name} model", PICTURE)
    clipped = [count for path in paths if (count := wav.read_record(path).get(clips_folder.OUT_OF_RANGE, 0))]
    return FolderReport(len(paths), made, len(clipped), sum(clipped), folder / page_name(1))


def _wait_for_all(what: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
