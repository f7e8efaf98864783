"""A folder of numbered clips: which are there, which are missing, and writing them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diffwave_jax.errors import UserError
from diffwave_jax.files import writing
from diffwave_jax.results import wav

NAME = re.compile(r"(\d{5,})(?:_digit\d+)?\.wav")
OUT_OF_RANGE = "out_of_range"  # the one entry of a record that is a result, not a setting
LONGEST = 60  # letters of a value on record that an error shows


def clip_name(record: Mapping) -> str:
    """A clip's file name: `00003.wav`, or `00003_digit7.wav` where a digit was asked for."""
    digit = record.get("digit")
    return f"{record['index']:05d}.wav" if digit is None else f"{record['index']:05d}_digit{digit}.wav"


def clips_in(folder: Path) -> dict[int, Path]:
    """The clips of a folder by their index, in order."""
    found = {int(match[1]): path for path in folder.glob("*.wav") if (match := NAME.fullmatch(path.name))}
    return dict(sorted(found.items()))


def missing(folder: Path, records: Sequence[Mapping]) -> list[Mapping]:
    """The records whose clips are not in the folder yet, or not in full.

    Args:
      folder: may not exist yet.
      records: what the folder is to hold; each has an `index`.

    Raises:
      UserError: a clip is there that something else made.
    """
    found = clips_in(folder)
    return [record for record in records if not is_done(found.get(record["index"]), record)]


def is_done(path: Path | None, record: Mapping) -> bool:
    """Whether `record` made the clip at `path`, and it is whole; UserError where something else made it."""
    if path is None:
        return False
    _check_same(path, record)
    return wav.is_whole(path)


def _check_same(path: Path, record: Mapping) -> None:
    made = wav.read_record(path)
    for name in [*record, *(name for name in made if name not in record and name != OUT_OF_RANGE)]:
        if made.get(name) != record.get(name):
            said = f"{name} {_short(made[name])}" if name in made else f"no {name} on record"
            asked = f"{name} {record[name]}" if name in record else f"no {name}"
            raise UserError(
                f"{path} is there already, with {said} where {asked} is asked for: "
                "choose another output folder, or overwrite"
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def out_of_range(record: Mapping) -> int:
    """How many samples of a clip were clipped, by its record; 0 where it does not say."""
    count = record.get(OUT_OF_RANGE)
    return count if isinstance(count, int) else 0


def write_clip(folder: Path, record: Mapping, audio: np.ndarray, sample_rate: int) -> int:
    """Writes one clip (L,) under its name; returns how many of its samples were out of range and were clipped."""
    samples, clipped = wav.to_pcm(audio, normalize=record.get("normalized", False))
    wav.write(folder / clip_name(record), samples, sample_rate, {**record, OUT_OF_RANGE: clipped})
    return clipped


def remove_clips(folder: Path) -> None:
    """Removes every numbered clip of a folder."""
    for path in clips_in(folder).values():
        with writing(path):
            path.unlink(missing_ok=True)
