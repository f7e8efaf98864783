"""Where the files of a data set lie: a folder, or a tar archive unpacked into a passing one."""

import hashlib
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from diffwave_jax.errors import UserError

Wanted = Callable[[str], bool]


def list_files(root: Path, wanted: Wanted) -> list[str]:
    """Names, relative to `root` and sorted, of the files below it that are wanted; hidden ones never are."""
    paths = (Path(folder, name) for folder, _, names in os.walk(root, followlinks=True) for name in names)
    names = (path.relative_to(root).as_posix() for path in paths)
    return sorted(name for name in names if wanted(name) and not _hidden(name))


def unpack(archive: Path, wanted: Wanted, target: Path) -> Path:
    """Returns `archive` itself if it is a folder, else `target` with the archive's wanted files in it.

    Raises `UserError` where it is no tar archive or a damaged one.
    """
    if archive.is_dir():
        return archive
    for name, content in _read_tar(archive, wanted):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return target


def content_key(path: Path, wanted: Wanted) -> list:
    """Changes with the content of an archive or folder, without reading all of it."""
    if path.is_dir():
        stats = ((name, (path / name).stat()) for name in list_files(path, wanted))
        return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return [path.stat().st_size, path.stat().st_mtime_ns, _end_digest(path)]


def _end_digest(path: Path, size: int = 4096) -> str:
    """Digest of the file's end, where gzip keeps a checksum of the whole."""
    with path.open("rb") as file:
        file.seek(-min(size, path.stat().st_size), os.SEEK_END)
        return hashlib.sha256(file.read()).hexdigest()


def _hidden(name: str) -> bool:
    """Also true of names that would lead out of a folder."""
    path = PurePosixPath(name)
    return path.is_absolute() or any(part.startswith(".") for part in path.parts)


def _read_tar(archive: Path, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isfile() and wanted(name) and not _hidden(name):
                    yield name, tar.extractfile(member).read()
            while tar.fileobj.read(1 << 20):  # to the end of the file, where gzip compares its checksum
                pass
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise UserError(f"data.archive: {archive} is no intact tar archive ({reason}); fetch it again") from error
