"""The layout of Speech Commands: `<word>/<speaker>_nohash_<index>.wav` and two lists of held-out clips."""

import contextlib
import dataclasses
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from diffwave_jax.errors import UserError

LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}


@dataclasses.dataclass(frozen=True)
class Clip:
    """One file: its name within the data set, where it lies, and what is known about it."""

    name: str
    path: Path
    label: str
    speaker: str


@contextlib.contextmanager
def unpacked(archive: Path, words: tuple[str, ...], scratch: Path) -> Iterator[Path]:
    """Gives a folder in the layout: `archive` itself, or a passing one with lists and clips of `words`."""
    if archive.is_dir():
        yield archive
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=scratch) as folder:
        _unpack(archive, words, Path(folder))
        yield Path(folder)


def find_clips(root: Path, words: tuple[str, ...]) -> dict[str, list[Clip]]:
    """Lists the clips of `words` by split: what neither list names is `train`.

    Raises `UserError` where there is none.
    """
    held_out = {name: split for split in LISTS for name in read_list(root, split)}
    splits = {"train": [], **{split: [] for split in LISTS}}
    for word in words:
        for path in sorted((root / word).glob("*.wav")):
            name = f"{word}/{path.name}"
            clip = Clip(name, path, word, speaker=path.stem.split("_nohash_")[0])
            splits[held_out.get(name, "train")].append(clip)
    return splits


def read_list(root: Path, split: str) -> list[str]:
    """The clips that a list names, `[]` where the list is absent."""
    path = root / LISTS[split]
    if not path.exists():
        return []
    return [_normal(line) for line in path.read_text().split()]


def _unpack(archive: Path, words: tuple[str, ...], folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = _normal(member.name)
                if member.isfile() and _wanted(name, words):
                    target = folder / name
                    target.parent.mkdir(exist_ok=True)
                    target.write_bytes(tar.extractfile(member).read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"data.archive: {archive} cannot be read as a tar archive ({error}); fetch it again") from error


def _wanted(name: str, words: tuple[str, ...]) -> bool:
    parts = PurePosixPath(name).parts
    return name in LISTS.values() or (len(parts) == 2 and parts[0] in words and name.endswith(".wav"))


def _normal(name: str) -> str:
    return name.removeprefix("./")
