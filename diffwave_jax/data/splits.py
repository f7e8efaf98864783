"""One clip's file, and which split it belongs to."""

import dataclasses
import hashlib
from pathlib import Path, PurePosixPath

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
SPLITS = ("train", *LISTS)
UNLISTED_SHARE = 20


@dataclasses.dataclass(frozen=True)
class ClipFile:
    """A file: its name within the data set, where it lies, and its label, "" for none."""

    name: str
    path: Path
    label: str

    @property
    def speaker(self) -> str:
        """What stands before `_nohash_` in the names of Speech Commands, "" elsewhere."""
        speaker, separator, _ = PurePosixPath(self.name).stem.partition("_nohash_")
        return speaker if separator else ""


def split_by_lists(clips: list[ClipFile], root: Path) -> dict[str, list[ClipFile]]:
    """Splits by the layout's lists of held-out clips: what neither names is `train`."""
    held_out = {name: split for split in LISTS for name in read_list(root, split)}
    splits = {split: [] for split in SPLITS}
    for clip in clips:
        splits[held_out.get(clip.name, "train")].append(clip)
    return splits


def split_by_name(clips: list[ClipFile]) -> dict[str, list[ClipFile]]:
    """Holds out a twentieth for validation and one for the test, chosen by a digest of the name."""
    ranked = sorted(clips, key=lambda clip: hashlib.sha256(clip.name.encode()).digest())
    share = len(clips) // UNLISTED_SHARE
    return {"train": ranked[2 * share :], "validation": ranked[:share], "test": ranked[share : 2 * share]}


def has_lists(root: Path) -> bool:
    """Whether the folder says itself which clips are held out."""
    return any((root / name).exists() for name in LISTS.values())


def read_list(root: Path, split: str) -> list[str]:
    """The clips that a list names, `[]` where there is no list."""
    path = root / LISTS[split]
    return [line.removeprefix("./") for line in path.read_text().splitlines()] if path.exists() else []
