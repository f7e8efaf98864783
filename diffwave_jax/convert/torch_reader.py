"""Files of tensors, read without PyTorch: its zip format, its old one, and safetensors.

Nothing in a file is believed before it is checked: its pickle is interpreted as data (`torch_pickle`), every size is
compared with the file's own, and neither time nor memory is taken beyond what the file's size gives reason for.
Formats: `torch/serialization.py`.
"""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from diffwave_jax.convert import safetensors, torch_legacy, torch_zip
from diffwave_jax.convert.other_files import what_it_is
from diffwave_jax.convert.tensor_file import Opened, TensorFile, Unsupported, check_tensors, explained
from diffwave_jax.errors import UserError

HEAD_BYTES = 512


class Format(NamedTuple):
    """A file format.

    Attributes:
      name: what the conversion's report calls it.
      matches: (the file's first bytes, its size) to whether it is this format.
      open: reads what the file describes.
    """

    name: str
    matches: Callable[[bytes, int], bool]
    open: Callable[[BinaryIO, int], Opened]


FORMATS = (
    Format("PyTorch", lambda head, _: head.startswith(torch_zip.START), torch_zip.open_zip),
    Format("PyTorch's old format", lambda head, _: head.startswith(torch_legacy.STARTS), torch_legacy.open_legacy),
    Format("safetensors", safetensors.is_safetensors, safetensors.open_safetensors),
)


@contextmanager
def open_checkpoint(path: str | os.PathLike) -> Iterator[TensorFile]:
    """Opens a file of tensors; every tensor's bounds are checked before the block is entered.

    Raises:
      UserError: the file is missing, damaged or something else, or it asks for more than plain data.
    """
    path = Path(path)
    with explained(path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} cannot be read: it is {_kind(path)}; give the checkpoint's file")
        file = path.open("rb")
    with file:
        with explained(path):
            tensor_file = _open(path, file)
        yield tensor_file


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "no regular file but a pipe or a device"


def _open(path: Path, file: BinaryIO) -> TensorFile:
    file_size = os.fstat(file.fileno()).st_size
    head = file.read(HEAD_BYTES)
    file.seek(0)
    for format in FORMATS:
        if format.matches(head, file_size):
            opened = format.open(file, file_size)
            check_tensors(opened, file_size)
            return TensorFile(path, format.name, opened.content, opened.storages)
    raise Unsupported(what_it_is(head, file_size))
