"""Bytes kept on disk from one process to the next, for what can always be made again."""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

_DIGEST = hashlib.sha256().digest_size


class Kept:
    """A folder of files that are as they were written, or count as not there.

    Each begins with a digest of the rest, so that a damaged file is never believed, and appears under its name only
    when it is whole, so that many processes can read and write at once. Nothing that is wrong with the disk is an
    error.

    Args:
      folder: made when the first file is written.
      most: bytes of all files together; the least recently used ones go first.
    """

    def __init__(self, folder: Path, most: int):
        self._folder, self._most = folder, most

    def read(self, name: str) -> bytes | None:
        """What was written under this name; None if nothing was, or if it is damaged."""
        path = self._folder / name
        try:
            content = path.read_bytes()
            digest, data = content[:_DIGEST], content[_DIGEST:]
            if hashlib.sha256(data).digest() != digest:
                path.unlink()
                return None
            os.utime(path)  # it is in use: others go first
        except OSError:
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        """Keeps bytes under a name, in place of any that were; more than there may be in all are not kept."""
        if len(data) + _DIGEST > self._most:
            return
        with contextlib.suppress(OSError):
            self._write(name, hashlib.sha256(data).digest() + data)
            self._make_room()

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(partial, self._folder / name)
        except BaseException:
            os.unlink(partial)
            raise

    def _make_room(self) -> None:
        """Removes the oldest files; those of killed processes, which have other names, are among them some day."""
        found = []
        for file in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                status = file.stat()
                found.append((status.st_mtime, status.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self._most:
                break
            file.unlink(missing_ok=True)
            total -= size
