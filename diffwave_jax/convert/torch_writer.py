"""Checkpoints that `torch.load(weights_only=True)` reads, written without PyTorch, in its zip format.

The archive holds `data.pkl`, a protocol-2 pickle in which each tensor is a view of a storage, and one uncompressed
member of raw little-endian bytes per storage. Format: `torch/serialization.py`.
"""

import io
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from diffwave_jax.convert.torch_names import DTYPES, ORDERED_DICT, REBUILD_TENSOR
from diffwave_jax.errors import UserError
from diffwave_jax.files import complete, make_folder

ALIGNMENT = 64  # of the storages in the file, so that they can be mapped into memory
STORAGE_TYPES = {dtype: name for name, dtype in DTYPES.items()}


def write_checkpoint(path: str | os.PathLike, content: object) -> None:
    """Writes `content` as `torch.save` would; the file appears under its name only when it is complete.

    Args:
      path: the file.
      content: dicts, lists, strings, numbers, None and NumPy arrays, which become tensors. Dicts become plain dicts.

    Raises:
      UserError: the file cannot be written.
    """
    path = Path(path)
    make_folder(path.parent)
    try:
        with complete(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            _write_archive(archive, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}; choose another place") from error


def _write_archive(archive: zipfile.ZipFile, content: object) -> None:
    pickled = _Pickled(content)
    _write_member(archive, "archive/data.pkl", pickled.data)
    _write_member(archive, "archive/byteorder", b"little")
    for key, array in enumerate(pickled.arrays):
        little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        _write_member(archive, f"archive/data/{key}", little_endian.reshape(-1).view(np.uint8).data)
    _write_member(archive, "archive/version", b"3\n")


def _write_member(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    member = zipfile.ZipInfo(name)
    header = archive.start_dir + 30 + len(name.encode()) + 4
    padding = -header % ALIGNMENT
    member.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)  # "FB": the field that PyTorch pads with
    archive.writestr(member, data)


class _Pickled:
    """Protocol-2 pickle `data` of an object whose arrays, in order, are the storages "0", "1", ..."""

    def __init__(self, content: object):
        self.arrays: list[np.ndarray] = []
        self._out = io.BytesIO()
        self._out.write(b"\x80\x02")
        self._put(content)
        self._out.write(b".")
        self.data = self._out.getvalue()

    def _put(self, value: object) -> None:
        match value:
            case None | True | False:
                self._out.write({None: b"N", True: b"\x88", False: b"\x89"}[value])
            case int():
                size = value.bit_length() // 8 + 1
                self._out.write(b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True))
            case float():
                self._out.write(b"G" + struct.pack(">d", value))
            case str():
                text = value.encode()
                self._out.write(b"X" + struct.pack("<I", len(text)) + text)
            case np.ndarray():
                self._put_tensor(value)
            case Mapping():
                self._put_items(b"}(", [part for item in value.items() for part in item], b"u")
            case list():
                self._put_items(b"](", value, b"e")
            case tuple():
                self._put_items(b"(", value, b"t")
            case _:
                raise TypeError(f"a {type(value).__name__} has no place in a checkpoint of tensors")

    def _put_items(self, start: bytes, items: list | tuple, end: bytes) -> None:
        self._out.write(start)
        for item in items:
            self._put(item)
        self._out.write(end)

    def _put_name(self, name: str) -> None:
        self._out.write(b"c" + "\n".join(name.rsplit(".", 1)).encode() + b"\n")

    def _put_tensor(self, array: np.ndarray) -> None:
        """`_rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, OrderedDict())`."""
        self._put_name(REBUILD_TENSOR)
        self._out.write(b"(")
        self._put_storage(array)
        strides = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
        for argument in (0, array.shape, tuple(strides), False):
            self._put(argument)
        self._put_name(ORDERED_DICT)
        self._out.write(b")RtR")

    def _put_storage(self, array: np.ndarray) -> None:
        self._out.write(b"(")
        self._put("storage")
        self._put_name(STORAGE_TYPES[array.dtype.name])
        for part in (str(len(self.arrays)), "cpu", array.size):
            self._put(part)
        self._out.write(b"tQ")
        self.arrays.append(array)
