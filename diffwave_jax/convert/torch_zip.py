"""The zip format of `torch.save` (1.6 and newer): `FOLDER/data.pkl` and one uncompressed member for each storage."""

import io
import struct
import zipfile
from typing import BinaryIO

from diffwave_jax.convert.tensor_file import Opened, Unsupported, shortened
from diffwave_jax.convert.torch_names import RefusedName
from diffwave_jax.convert.torch_pickle import Pickle, read_pickle

START = b"PK\x03\x04"
MAX_PICKLE_BYTES = 32 * 2**20  # a full-size checkpoint with optimizer state has 0.4 MB
MAX_DIRECTORY_BYTES = 4 * 2**20  # of the zip's list of members: 0.2 MB for such a checkpoint
SAVE_AGAIN = "save it with torch.save, and give that file as it is"


def open_zip(file: BinaryIO, file_size: int) -> Opened:
    """Opens what `torch.save` wrote; see `torch_pickle.read_pickle` for the errors beside `Unsupported`."""
    if _directory_size(file, file_size) > MAX_DIRECTORY_BYTES:
        raise Unsupported("its list of members is larger than any checkpoint's")
    archive = zipfile.ZipFile(file)
    storages = _ZipStorages(archive, _folder(archive))
    _check_members(archive.infolist(), file_size)
    if (order := storages.record("byteorder") or b"little") != b"little":
        raise Unsupported(f"its byte order is {order[:20]!r}; only little-endian files are supported")
    pickle = _pickle(storages.record("data.pkl"), file_size)
    return Opened(pickle.content, pickle.tensors, storages)


def _pickle(data: bytes, file_size: int) -> Pickle:
    """The archive's pickle, which its checksum has shown to be whole."""
    if len(data) > MAX_PICKLE_BYTES:
        raise Unsupported(f"its pickle has {len(data)} bytes, more than any checkpoint's")
    try:
        return read_pickle(io.BytesIO(data), file_size)
    except RefusedName:
        raise
    except ValueError as error:
        raise Unsupported(f"{shortened(error)}; save its state_dict() alone") from error


class _ZipStorages:
    def __init__(self, archive: zipfile.ZipFile, folder: str):
        self._archive = archive
        self._folder = folder
        self._members = {member.filename: member for member in archive.infolist()}

    def size(self, key: str) -> int:
        return self._member(f"data/{key}").file_size

    def read(self, key: str) -> bytes:
        return self._archive.read(self._member(f"data/{key}"))

    def record(self, name: str) -> bytes:
        present = f"{self._folder}/{name}" in self._members
        return self._archive.read(self._member(name)) if present else b""

    def _member(self, name: str) -> zipfile.ZipInfo:
        if f"{self._folder}/{name}" not in self._members:
            raise ValueError(f"the archive has no member {name!r}")
        return self._members[f"{self._folder}/{name}"]


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


def _folder(archive: zipfile.ZipFile) -> str:
    """The one that all members of PyTorch's archives lie in."""
    names = archive.namelist()
    folders = [name.split("/")[0] for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(folders) == 1 and f"{folders[0]}/constants.pkl" in names:
        raise Unsupported("it is a TorchScript archive: open it with torch.jit.load, and save its state_dict() alone")
    if len(folders) == 1:
        return folders[0]
    inside = next((name for name in names if name.endswith((".pt", ".pth", ".pkl", ".ckpt", ".safetensors"))), None)
    if not folders and inside is not None:
        raise Unsupported(f"it is a zip archive around {shortened(repr(inside))}: unpack it, and give that file")
    found = ", ".join(map(repr, names[:3])) or "nothing"
    raise Unsupported(
        f"it is a zip archive with {len(folders)} members FOLDER/data.pkl, where PyTorch writes one (found "
        f"{shortened(found)}); {SAVE_AGAIN}"
    )


def _check_members(members: list[zipfile.ZipInfo], file_size: int) -> None:
    if len({member.filename for member in members}) != len(members):
        raise ValueError("the archive has two members of one name")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise Unsupported(
                f"archive member {member.filename!r} is compressed, which PyTorch never does: {SAVE_AGAIN}"
            )
    if sum(member.file_size for member in members) > file_size:
        raise ValueError("the archive's members claim more bytes than the file has")
