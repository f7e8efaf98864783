"""The old format of `torch.save` (before 1.6): five pickles, and then the storages one after another."""

import io
import struct
from typing import BinaryIO

from diffwave_jax.convert.tensor_file import Opened, Unsupported, storage_bytes
from diffwave_jax.convert.torch_names import StorageReference
from diffwave_jax.convert.torch_pickle import PROTOCOLS, read_pickle
from diffwave_jax.convert.torch_zip import MAX_PICKLE_BYTES, SAVE_AGAIN

STARTS = tuple(bytes([0x80, protocol]) for protocol in PROTOCOLS)
MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def open_legacy(file: BinaryIO, file_size: int) -> Opened:
    """Opens what `torch.save` wrote; see `torch_pickle.read_pickle` for the errors beside `Unsupported`."""
    head = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    if (magic := read_pickle(head, file_size).content) != MAGIC or type(magic) is not int:
        raise Unsupported(f"it is a pickle, but not one that torch.save wrote: {SAVE_AGAIN}")
    if (version := read_pickle(head, file_size).content) != VERSION:
        raise Unsupported(f"it has version {version!r:.20} of the old format, where {VERSION} is known: {SAVE_AGAIN}")
    system = read_pickle(head, file_size).content
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise Unsupported("its byte order is not little-endian, the only one supported")
    pickle = read_pickle(head, file_size)
    keys = read_pickle(head, file_size).content
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is damaged")
    places = _places(file, head.tell(), keys, pickle.storages, file_size)
    return Opened(pickle.content, pickle.tensors, _LegacyStorages(file, places))


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


def _places(
    file: BinaryIO, position: int, keys: list[str], storages: list[StorageReference], file_size: int
) -> dict[str, tuple[int, int]]:
    """Where each storage's bytes lie: they follow the pickles in the order of `keys`, each behind its int64 size."""
    by_key = {storage.key: storage for storage in storages}
    places = {}
    for key in keys:
        if key in places or key not in by_key:
            raise ValueError(f"its list of storages names {key!r}, which is there twice or belongs to no tensor")
        file.seek(position)
        (size,) = struct.unpack("<q", _exactly(file, 8))
        if size != by_key[key].size:
            raise ValueError(f"storage {key!r} has {size} elements, where {by_key[key].size} were announced")
        places[key] = (position + 8, storage_bytes(by_key[key]))
        position += 8 + places[key][1]
        if not 0 <= position <= file_size:
            raise ValueError(f"the file ends inside storage {key!r} (an interrupted download or copy?)")
    return places


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("the file ends before its storages (an interrupted download or copy?)")
    return data
