"""One clip's file, and which split it belongs to."""

import dataclasses
import hashlib
import posixpath
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

from diffwave_jax.data.listing import Files
from diffwave_jax.errors import UserError

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
SPLITS = ("train", *LISTS)
UNLISTED_SHARE = 20
TRAIN_PERCENT, VALIDATION_PERCENT = 88, 6  # of long recordings, whose rest is the test (state-spaces/s4)
UTF16 = (b"\xff\xfe", b"\xfe\xff")

Splits = dict[str, list["ClipFile"]]


@dataclasses.dataclass(frozen=True)
class ClipFile:
    """A file: its name within the data set, where it lies, and its label, "" for none."""

    name: str
    path: Path
    label: str

    @property
    def speaker(self) -> str:
        """What stands before `_nohash_` in the names of Speech Commands, "" elsewhere."""
        speaker, separator, _ = posixpath.basename(self.name).partition("_nohash_")
        return speaker if separator else ""


def is_list(name: str) -> bool:
    """Whether a file's name is that of a list of held-out clips."""
    return name in LISTS.values()


def has_lists(files: Files) -> bool:
    """Whether the data set says itself which clips are held out."""
    return any(map(is_list, files.paths))


def split_by_lists(
    clips: list[ClipFile], files: Files, concerns: Callable[[str], bool] = lambda name: True
) -> tuple[Splits, list[str]]:
    """Splits by the layout's lists of held-out clips: what neither names is `train`.

    Args:
      clips: all of them.
      files: the data set's, the lists among them.
      concerns: whether a name in a list should be that of a clip.

    Returns:
      The clips by split, and a remark for each list that names clips that are not there.
    """
    held_out, remarks = {}, []
    exact = {name_bytes(clip.name): clip.name for clip in clips}
    alike = {_canonical(name): clip_name for name, clip_name in exact.items()}
    for split, file in LISTS.items():
        lines = read_list(files, split)
        found = [exact.get(line) or alike.get(_canonical(line)) for line in lines]
        held_out |= {name: split for name in found if name}
        missing = [_canonical(line) for line, name in zip(lines, found, strict=True) if not name]
        missing = [name for name in missing if concerns(name)]
        if missing:
            remarks.append(f"{file} names {len(missing)} files that are not there, such as {missing[0]}")
    splits = {split: [] for split in SPLITS}
    for clip in clips:
        splits[held_out.get(clip.name, "train")].append(clip)
    return splits, remarks


def split_by_name(clips: list[ClipFile]) -> Splits:
    """Holds out a twentieth for validation and one for the test, chosen by a digest of the name."""
    ranked = sorted(clips, key=lambda clip: hashlib.sha256(name_bytes(clip.name)).digest())
    share = len(clips) // UNLISTED_SHARE
    return {"train": ranked[2 * share :], "validation": ranked[:share], "test": ranked[share : 2 * share]}


def split_in_order(clips: list[ClipFile]) -> Splits:
    """The first 88 % of the files for training, the next 6 % for validation, the rest for the test.

    Files stand in the order of the numbers in their names, 2 before 10, as state-spaces/s4 splits music.
    """
    ordered = sorted(clips, key=lambda clip: _natural(clip.name))
    first = len(ordered) * TRAIN_PERCENT // 100
    second = len(ordered) * (TRAIN_PERCENT + VALIDATION_PERCENT) // 100
    return {"train": ordered[:first], "validation": ordered[first:second], "test": ordered[second:]}


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A name as what sorts its numbers by their value."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts]


def name_bytes(name: str) -> bytes:
    """A file's name as it stands on a disk, where it need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def read_list(files: Files, split: str) -> list[bytes]:
    """The lines of a list that are not empty, in UTF-8 where they were in UTF-16; `[]` where there is no list."""
    path = files.paths.get(LISTS[split])
    if path is None:
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"data.archive: {path} cannot be read ({error.strerror}); see to it, or remove it") from error
    if content.startswith(UTF16):
        content = content.decode("utf-16", "replace").encode("utf-8", "replace")
    lines = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    return [line for line in lines if line.strip()]


def _canonical(name: bytes) -> str:
    """A name without what editors, Windows and file systems make of it: two that differ only in that are the same."""
    name = name.strip().replace(b"\\", b"/").removeprefix(b"./")
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        text = name.decode("latin-1")
    return unicodedata.normalize("NFC", text)
