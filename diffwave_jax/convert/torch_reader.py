"""Checkpoints of PyTorch, in its zip format and in its old one, read without PyTorch.

Nothing in a file is believed before it is checked: the pickle is interpreted as data (`torch_pickle`), every size is
compared with the file's own, and no memory is taken for what the file does not hold. Formats: `torch/serialization.py`.
"""

import io
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from diffwave_jax.convert import torch_pickle
from diffwave_jax.convert.torch_pickle import StorageReference, TensorReference
from diffwave_jax.errors import UserError

ZIP_START = b"PK\x03\x04"
LEGACY_START = b"\x80\x02"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_PICKLE_BYTES = 32 * 2**20  # a full-size checkpoint with optimizer state has 0.4 MB
MAX_DIRECTORY_BYTES = 4 * 2**20  # of the zip's list of members: 0.2 MB for such a checkpoint
MAX_DIMENSIONS = 8

# What `zipfile` raises on damaged archives, beside the ValueErrors of the checks here and in `torch_pickle`.
DAMAGE = (ValueError, OSError, EOFError, OverflowError, RuntimeError, zipfile.BadZipFile, struct.error)


class Storages(Protocol):
    """Blocks of raw bytes by key."""

    def size(self, key: str) -> int:
        """Bytes held under the key, or `ValueError`."""

    def read(self, key: str) -> bytes:
        """All the bytes held under the key."""


class TorchFile:
    """An open checkpoint: `content` is what was saved, with a `TensorReference` in the place of each tensor."""

    def __init__(self, path: Path, content: object, storages: Storages):
        self.path = path
        self.content = content
        self._storages = storages

    def read(self, tensor: TensorReference) -> np.ndarray:
        """The tensor's values, a new array of its shape and dtype. Raises `UserError` where the file is damaged."""
        with _explained(self.path):
            dtype = np.dtype(tensor.storage.dtype).newbyteorder("<")
            flat = np.frombuffer(self._storages.read(tensor.storage.key), dtype)
            strides = [stride * dtype.itemsize for stride in tensor.strides]
            view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
            return view.astype(tensor.storage.dtype)


@contextmanager
def open_checkpoint(path: str | os.PathLike) -> Iterator[TorchFile]:
    """Opens what `torch.save` wrote; every tensor's bounds are checked before this returns.

    Raises `UserError` for a file that is missing, damaged, not PyTorch's, or that asks for more than tensors.
    """
    path = Path(path)
    with _explained(path):
        file = path.open("rb")
    with file:
        with _explained(path):
            torch_file = _open(path, file)
        yield torch_file


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the path of a PyTorch checkpoint (.pt or .pkl)") from error
    except torch_pickle.RefusedName as error:
        raise UserError(
            f"{path} asks to load {_printable(error)}, which no checkpoint of tensors needs: nothing of it was run; "
            "get the file from a source that you trust"
        ) from error
    except DAMAGE as error:
        raise UserError(
            f"{path} cannot be read as a PyTorch checkpoint: {_printable(error)}; copy or download it again"
        ) from error


def _printable(error: Exception) -> str:
    text = (str(error) or type(error).__name__).encode("unicode_escape").decode()
    return text if len(text) <= 200 else text[:200] + "..."


def _open(path: Path, file: BinaryIO) -> TorchFile:
    file_size = os.fstat(file.fileno()).st_size
    start = file.read(16)
    file.seek(0)
    if start.startswith(ZIP_START):
        pickle, storages = _open_zip(file, file_size)
    elif start.startswith(LEGACY_START):
        pickle, storages = _open_legacy(file, file_size)
    else:
        raise ValueError(f"it begins with {start!r}, neither a zip archive nor PyTorch's old format")
    _check_tensors(pickle.tensors, storages, file_size)
    return TorchFile(path, pickle.content, storages)


def _check_tensors(tensors: list[TensorReference], storages: Storages, file_size: int) -> None:
    total = 0
    for tensor in tensors:
        _check_bounds(tensor)
        held, named = storages.size(tensor.storage.key), _bytes(tensor.storage)
        if held != named:
            raise ValueError(f"storage {tensor.storage.key!r} has {held} bytes, where {named} were announced")
        total += held
    # Tensors that share their storage could each ask for all of it.
    if total > file_size:
        raise ValueError(f"its tensors claim {total} bytes, more than the file's {file_size}")


def _check_bounds(tensor: TensorReference) -> None:
    shape, strides, size = tensor.shape, tensor.strides, tensor.storage.size
    name = f"a tensor of shape {shape}, strides {strides} and offset {tensor.offset}"
    if len(shape) > MAX_DIMENSIONS or min(shape, default=1) < 1 or min(strides, default=0) < 0:
        raise ValueError(f"out of range: {name}")
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if tensor.offset < 0 or last >= size or math.prod(shape) > size:
        raise ValueError(f"more than its storage of {size} elements: {name}")


def _bytes(storage: StorageReference) -> int:
    return storage.size * np.dtype(storage.dtype).itemsize


class _ZipStorages:
    def __init__(self, archive: zipfile.ZipFile, folder: str):
        self._archive = archive
        self._folder = folder
        self._members = {member.filename: member for member in archive.infolist()}

    def size(self, key: str) -> int:
        return self._member(f"data/{key}").file_size

    def read(self, key: str) -> bytes:
        return self._archive.read(self._member(f"data/{key}"))

    def record(self, name: str) -> bytes | None:
        present = f"{self._folder}/{name}" in self._members
        return self._archive.read(self._member(name)) if present else None

    def _member(self, name: str) -> zipfile.ZipInfo:
        if f"{self._folder}/{name}" not in self._members:
            raise ValueError(f"the archive has no member {name!r}")
        return self._members[f"{self._folder}/{name}"]


def _open_zip(file: BinaryIO, file_size: int) -> tuple[torch_pickle.Pickle, Storages]:
    if _directory_size(file, file_size) > MAX_DIRECTORY_BYTES:
        raise ValueError("its list of members is larger than any checkpoint's")
    archive = zipfile.ZipFile(file)
    _check_members(archive.infolist(), file_size)
    folders = [name.split("/")[0] for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(folders) != 1:
        raise ValueError(f"it is a zip archive with {len(folders)} members FOLDER/data.pkl, where PyTorch writes one")
    storages = _ZipStorages(archive, folders[0])
    if (order := storages.record("byteorder") or b"little") != b"little":
        raise ValueError(f"its byte order is {order[:20]!r}; only little-endian files are supported")
    data = storages.record("data.pkl")
    if len(data) > MAX_PICKLE_BYTES:
        raise ValueError(f"its pickle has {len(data)} bytes, more than any checkpoint's")
    return torch_pickle.read_pickle(io.BytesIO(data)), storages


def _directory_size(file: BinaryIO, file_size: int) -> int:
    """Bytes of the zip's list of members, from the records at the file's very end (APPNOTE.TXT 4.3.14 to 4.3.16)."""
    file.seek(max(0, file_size - 98))
    tail = file.read(98)
    file.seek(0)
    if tail[-22:-18] != b"PK\x05\x06":
        raise ValueError("the end of the zip archive is missing (an interrupted download or copy?)")
    if tail[-42:-38] == b"PK\x06\x07" and tail[:4] == b"PK\x06\x06":
        return struct.unpack_from("<Q", tail, 40)[0]
    return struct.unpack_from("<I", tail[-22:], 12)[0]


def _check_members(members: list[zipfile.ZipInfo], file_size: int) -> None:
    if len({member.filename for member in members}) != len(members):
        raise ValueError("the archive has two members of one name")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ValueError(f"archive member {member.filename!r} is compressed, which PyTorch never does")
    if sum(member.file_size for member in members) > file_size:
        raise ValueError("the archive's members claim more bytes than the file has")


class _LegacyStorages:
    def __init__(self, file: BinaryIO, places: dict[str, tuple[int, int]]):
        self._file = file
        self._places = places  # key: (position in the file, bytes)

    def size(self, key: str) -> int:
        if key not in self._places:
            raise ValueError(f"the file has no storage {key!r}")
        return self._places[key][1]

    def read(self, key: str) -> bytes:
        position, size = self._places[key]
        self._file.seek(position)
        return self._file.read(size)


def _open_legacy(file: BinaryIO, file_size: int) -> tuple[torch_pickle.Pickle, Storages]:
    head = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    if torch_pickle.read_pickle(head).content != LEGACY_MAGIC:
        raise ValueError("it is a pickle, but not one that torch.save wrote")
    if (version := torch_pickle.read_pickle(head).content) != LEGACY_PROTOCOL:
        raise ValueError(f"it has version {version!r} of the old format, where {LEGACY_PROTOCOL} is known")
    system = torch_pickle.read_pickle(head).content
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its byte order is not little-endian, the only one supported")
    pickle = torch_pickle.read_pickle(head)
    keys = torch_pickle.read_pickle(head).content
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is damaged")
    return pickle, _LegacyStorages(file, _places(file, head.tell(), keys, pickle.tensors, file_size))


def _places(
    file: BinaryIO, position: int, keys: list[str], tensors: list[TensorReference], file_size: int
) -> dict[str, tuple[int, int]]:
    """Where each storage's bytes lie: they follow the pickles in the order of `keys`, each behind its int64 size."""
    storages = {tensor.storage.key: tensor.storage for tensor in tensors}
    places = {}
    for key in keys:
        if key in places or key not in storages:
            raise ValueError(f"its list of storages names {key!r}, which is there twice or belongs to no tensor")
        file.seek(position)
        (size,) = struct.unpack("<q", file.read(8))
        if size != storages[key].size:
            raise ValueError(f"storage {key!r} has {size} elements, where {storages[key].size} were announced")
        places[key] = (position + 8, _bytes(storages[key]))
        position += 8 + places[key][1]
        if not 0 <= position <= file_size:
            raise ValueError(f"the file ends inside storage {key!r} (an interrupted download or copy?)")
    return places
