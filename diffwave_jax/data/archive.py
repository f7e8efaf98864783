"""Where the files of a data set lie: a folder, or a tar or zip archive unpacked into a passing one.

An archive is foreign: no name, size or length in it is trusted. Its files lie under numbers, whatever they are called,
and what it unpacks to is bounded by its own size.
"""

import bz2
import contextlib
import errno
import gzip
import hashlib
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast

from diffwave_jax.data.listing import Files, Wanted, is_hidden, list_folder
from diffwave_jax.errors import UserError
from diffwave_jax.files import writing

CHUNK = 2**20
# What an archive may unpack to: sound is packed to a third of its size, silence to a thousandth.
SPARE_BYTES = 2**26
LARGEST_RATIO = 100
HEADER_BYTES = 2**20  # of one member of a tar
ZIP = b"PK"
ENCRYPTED = 1  # in a zip member's flags
KINDS = {
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"\x04\x22\x4d\x18": "packed with LZ4",
    b"\x1f\x9d": "packed with compress",
    b"MSCF": "a CAB archive",
    b"RIFF": "an audio file",
    b"fLaC": "an audio file",
    b"OggS": "an audio file",
    b"ID3": "an audio file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
}
DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open, b"]\x00\x00": lzma.open}
DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(ValueError, ArithmeticError, LookupError, RuntimeError, MemoryError),  # RuntimeError: encrypted, not implemented
)


class Readable(Protocol):
    """What bytes are read from, in order."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        ...


Member = tuple[str, Readable]


def open_files(path: Path, wanted: Wanted, scratch: Path) -> Files:
    """The wanted files of a folder, or of an archive: these are unpacked into the folder `scratch`.

    Raises:
      UserError: it is no archive that can be read, or a damaged one, or unpacks to far more than its size allows; or
        there is no room for its files.
    """
    if path.is_dir():
        return list_folder(path, wanted)
    files = Files()
    for number, (name, member) in enumerate(_members(path, wanted, files)):
        place = scratch / f"{number}{PurePosixPath(name).suffix[:10]}"
        with writing(place), place.open("wb") as file:
            for chunk in _chunks(member, path):
                file.write(chunk)
        files.paths[name] = place  # of two of one name the later one counts, as for tar
    return files.sort()


def content_key(path: Path, wanted: Wanted) -> list:
    """Changes with the content of an archive or folder, without reading all of it."""
    if path.is_dir():
        stats = list_folder(path, wanted).stats()
        return [[name, stat and stat.st_size, stat and stat.st_mtime_ns] for name, stat in stats]
    if not path.is_file():
        raise UserError(f"data.archive: {path} is neither a folder nor a file: give a folder, or a .tar.gz or .zip")
    with _reading(path):
        return [path.stat().st_size, path.stat().st_mtime_ns, _end_digest(path)]


def _end_digest(path: Path, size: int = 4096) -> str:
    """Digest of the file's end, where gzip keeps a checksum of the whole."""
    with path.open("rb") as file:
        file.seek(-min(size, path.stat().st_size), os.SEEK_END)
        return hashlib.sha256(file.read()).hexdigest()


def _members(path: Path, wanted: Wanted, files: Files) -> Iterator[Member]:
    """Name and content of each wanted file; the content is to be read before the next one is asked for."""
    with _reading(path), path.open("rb") as file:
        start = file.read(max(map(len, KINDS)))
        kind = next((kind for magic, kind in KINDS.items() if start.startswith(magic)), None)
        if kind:
            raise UserError(f"data.archive: {path} is {kind}; give a folder, or an archive such as .tar.gz or .zip")
        file.seek(0)
        members = _zip_members if start.startswith(ZIP) else _tar_members
        yield from members(file, _Budget(path), lambda name: wanted(name) and not is_hidden(name), files)


def _zip_members(file: BinaryIO, budget: "_Budget", wanted: Wanted, _: Files) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = _clean(info.filename.replace("\\", "/"))
            is_file = not info.is_dir() and stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
            if is_file and wanted(name):
                if info.flag_bits & ENCRYPTED:
                    raise NotImplementedError(f"{name} is encrypted")
                with archive.open(info) as member:
                    yield name, _Metered(member, budget)


def _tar_members(file: BinaryIO, budget: "_Budget", wanted: Wanted, files: Files) -> Iterator[Member]:
    stream, holes = _Metered(_decompressed(file), budget), _Budget(budget.path)
    stream.limit = HEADER_BYTES
    with tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|", bufsize=CHUNK, tarinfo=_Header) as tar:
        while member := _next(tar, stream):
            name = _clean(member.name)
            if not wanted(name) or member.isdir():
                continue
            if member.isreg():
                content = cast(Readable, tar.extractfile(member))
                yield name, _Metered(content, holes) if member.issparse() else content  # holes are in no stream
            elif member.islnk() and (target := _clean(member.linkname)) in files.paths:
                files.paths[name] = files.paths[target]
            else:
                files.left_out[name] = "is a link or a device in the archive, no file"
        while stream.read(CHUNK):  # to the end of the file, where gzip compares its checksum
            pass
        if stream.position <= tar.offset:
            files.remarks.append(f"{budget.path} has no mark at its end: it may be cut")


def _decompressed(file: BinaryIO) -> Readable:
    start = file.read(8)
    file.seek(0)
    opener = next((opener for magic, opener in DECOMPRESSORS.items() if start.startswith(magic)), None)
    return opener(file) if opener else file


def _next(tar: tarfile.TarFile, stream: "_Metered") -> tarfile.TarInfo | None:
    """The next member, for which no more is read than leads to it, and a header of bounded size."""
    stream.limit = tar.offset + HEADER_BYTES
    member = tar.next()
    stream.limit = None
    tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - it would keep every one that it has seen
    return member


def _clean(name: str) -> str:
    return name.removeprefix("./")


class _Header(tarfile.TarInfo):
    """A member's header. Where one is damaged reading ends: tarfile takes any but the first for the archive's end."""

    @classmethod
    def frombuf(cls, buf, encoding, errors):
        """Checks that the archive ends here, where tarfile would go on: raises ReadError if it does not."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(str(error)) from error
            raise


class _Budget:
    """How many bytes an archive may still give."""

    def __init__(self, path: Path):
        self.path = path
        self._most = SPARE_BYTES + LARGEST_RATIO * path.stat().st_size
        self._spent = 0

    def spend(self, count: int) -> None:
        self._spent += count
        if self._spent > self._most:
            raise UserError(
                f"data.archive: {self.path} unpacks to more than {self._most / 1e6:,.0f} MB, over {LARGEST_RATIO} "
                "times its size, as no sound does: unpack it yourself and give the folder, if you trust it"
            )


class _Metered:
    """A stream whose bytes are counted against a budget.

    Attributes:
      position: bytes read so far.
      limit: the position, to within a chunk, beyond which nothing may be read for the moment; None for none.
    """

    def __init__(self, stream: Readable, budget: _Budget):
        self._stream = stream
        self._budget = budget
        self.position = 0
        self.limit: int | None = None

    def read(self, size: int) -> bytes:
        """At most `size` bytes."""
        if self.limit is not None and self.position > self.limit + CHUNK:
            raise tarfile.ReadError("a header of more than a megabyte")
        chunk = self._stream.read(min(size, CHUNK))
        self.position += len(chunk)
        self._budget.spend(len(chunk))
        return chunk


def _chunks(member: Readable, path: Path) -> Iterator[bytes]:
    with _reading(path):
        while chunk := member.read(CHUNK):
            yield chunk


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A block that reads an archive; whatever damage makes of it becomes one line."""
    try:
        yield
    except DAMAGES as error:
        reason = " ".join(str(error).split())[:200].rstrip(":") or type(error).__name__
        if isinstance(error, NotImplementedError):
            raise UserError(
                f"data.archive: {path} cannot be read ({reason}); unpack it, and give the folder"
            ) from error
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a seek to nowhere
            raise UserError(f"data.archive: {path} cannot be read ({error.strerror}); see to it") from error
        raise UserError(
            f"data.archive: {path} is no intact {_kind(path)} archive ({reason}); fetch it again"
        ) from error


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        return "zip" if file.read(len(ZIP)) == ZIP else "tar"
