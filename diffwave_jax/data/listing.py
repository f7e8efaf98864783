"""The files of a data set by their names, and what of a folder could not be used."""

import collections
import dataclasses
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath

from diffwave_jax.errors import UserError

Wanted = Callable[[str], bool]


@dataclasses.dataclass
class Files:
    """What a folder or an archive holds.

    Attributes:
      paths: {name within the data set: where the file lies}, in the order of the names.
      left_out: {name: reason} of what is wanted but cannot be read.
      remarks: what else is worth telling.
    """

    paths: dict[str, Path] = dataclasses.field(default_factory=dict)
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)

    def sort(self) -> "Files":
        """Itself, with the names in order."""
        self.paths = dict(sorted(self.paths.items()))
        return self

    def stats(self) -> Iterable[tuple[str, os.stat_result | None]]:
        """Each name with its file's status, None where the file has vanished."""
        for name, path in self.paths.items():
            try:
                yield name, path.stat()
            except OSError:
                yield name, None


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder in it, begins with a dot; also true of names that would lead out of a folder."""
    path = PurePosixPath(name)
    return path.is_absolute() or any(part.startswith(".") for part in path.parts)


def list_folder(root: Path, wanted: Wanted) -> Files:
    """The regular files below a folder that are wanted; hidden ones never are.

    Links are followed, but each real file counts once: under its own name, or that of the first link to it where it
    lies elsewhere. What cannot be read, such as a link to nothing, is among those left out.
    """
    return _Walk(root, wanted).files


def readable_files(root: Path, suffixes: Collection[str]) -> Files:
    """The files below a folder whose names end so, in small or capital letters.

    Raises:
      UserError: one of them cannot be read.
    """
    files = list_folder(root, lambda name: PurePosixPath(name).suffix.lower() in suffixes)
    for name, why in files.left_out.items():
        raise UserError(f"{root / name} cannot be read ({why}): remove it from the folder")
    return files


class _Walk:
    """One walk through a folder: first the tree itself, then where its links lead."""

    def __init__(self, root: Path, wanted: Wanted):
        self.files = Files()
        self._wanted = wanted
        self._root = os.path.realpath(root)
        self._seen: set[str] = set()  # real paths of folders and files
        self._links: collections.deque[tuple[str, str]] = collections.deque()
        self._repeated = 0
        self._tree("", self._root)
        while self._links:
            self._link(*self._links.popleft())
        if self._repeated:
            self.files.remarks.append(
                f"{self._repeated} links lead to files or folders that are there already: each file counts once"
            )
        self.files.sort()

    def _tree(self, name: str, real: str) -> None:
        todo = [(name, real)]
        while todo:
            name, real = todo.pop()
            if self._is_new(real):
                todo += self._folders(name, real)

    def _folders(self, name: str, real: str) -> list[tuple[str, str]]:
        """Takes in a folder's files and links; returns the folders in it."""
        folders = []
        for entry in self._entries(name, real):
            child = f"{name}/{entry.name}" if name else entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                self._links.append((child, entry.path))
            elif entry.is_dir(follow_symlinks=False):
                folders.append((child, entry.path))
            else:
                self._file(child, entry.path, entry.is_file(follow_symlinks=False))
        return folders

    def _entries(self, name: str, real: str) -> list[os.DirEntry]:
        try:
            with os.scandir(real) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.files.left_out[name or "."] = _reason(error)
            return []

    def _file(self, name: str, real: str, regular: bool) -> None:
        if not self._wanted(name) or not self._is_new(real):
            return
        if regular:
            self.files.paths[name] = Path(real)
        else:
            self.files.left_out[name] = "is no regular file"

    def _link(self, name: str, path: str) -> None:
        try:
            real = os.path.realpath(path, strict=True)
        except OSError as error:
            if self._wanted(name):
                self.files.left_out[name] = f"a link that leads nowhere: {_reason(error)}"
            return
        if not os.path.isdir(real):
            self._file(name, real, os.path.isfile(real))
        elif f"{self._root}/".startswith(f"{real.rstrip('/')}/"):
            self._repeated += 1  # back up to the folder itself or above it
        else:
            self._tree(name, real)

    def _is_new(self, real: str) -> bool:
        if real in self._seen:
            self._repeated += 1
            return False
        self._seen.add(real)
        return True


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
