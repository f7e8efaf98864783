"""An open file of tensors, whatever its format: plain content with references, and the bytes that they refer to."""

import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import ml_dtypes  # noqa: F401 - makes "bfloat16" a name of NumPy's
import numpy as np

from diffwave_jax.convert.torch_names import MAX_DIMENSIONS, RefusedName, StorageReference, TensorReference
from diffwave_jax.errors import UserError

READINGS = 4  # times the file's size, and SPARE_BYTES more, that its tensors may come to: some share a storage
SPARE_BYTES = 2**20

# What `zipfile`, `json` and `struct` raise on damaged files, beside the ValueErrors of the checks here.
DAMAGE = (ValueError, OSError, EOFError, OverflowError, RuntimeError, zipfile.BadZipFile, struct.error)
SYSTEM_ERRORS = (PermissionError, IsADirectoryError, NotADirectoryError)


class Unsupported(ValueError):
    """The file is whole but is no checkpoint that can be read; the message says what to do."""


class Storages(Protocol):
    """Blocks of raw bytes by key."""

    def size(self, key: str) -> int:
        """Bytes held under the key, or `ValueError`."""
        ...

    def read(self, key: str) -> bytes:
        """All the bytes held under the key."""
        ...


class Opened(NamedTuple):
    """What a format's reader found in a file, before the tensors are checked against it."""

    content: object
    tensors: list[TensorReference]
    storages: Storages


class TensorFile:
    """An open checkpoint.

    Args:
      path: of the file.
      format: the name of its format.
      content: what was saved, with a `TensorReference` in the place of each tensor.
      storages: where the references' bytes are.
    """

    def __init__(self, path: Path, format: str, content: Any, storages: Storages):
        self.path = path
        self.format = format
        self.content = content
        self._storages = storages
        self._last: tuple[str, bytes] | None = None  # tensors that share a storage lie side by side

    def read(self, tensor: TensorReference) -> np.ndarray:
        """The tensor's values, a new array of its shape and dtype. Raises `UserError` where the file is damaged."""
        with explained(self.path):
            dtype = np.dtype(tensor.storage.dtype)
            flat = np.frombuffer(self._bytes(tensor.storage.key), _little_endian(dtype))
            strides = [stride * dtype.itemsize for stride in tensor.strides]
            view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides, writeable=False)
            return view.astype(dtype)

    def _bytes(self, key: str) -> bytes:
        if self._last is None or self._last[0] != key:
            self._last = None  # so that the next storage can take its memory
            self._last = (key, self._storages.read(key))
        return self._last[1]


def _little_endian(dtype: np.dtype) -> np.dtype:
    return dtype if dtype == "bfloat16" else dtype.newbyteorder("<")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """A block that reads `path`; whatever is wrong with the file becomes a UserError that says what to do."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; give the path of a PyTorch checkpoint (.pt or .pkl)") from error
    except SYSTEM_ERRORS as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; give a file that you may read") from error
    except RefusedName as error:
        raise UserError(f"{path} {_refusal(shortened(error))}") from error
    except Unsupported as error:
        raise UserError(f"{path} cannot be read as a PyTorch checkpoint: {shortened(error)}") from error
    except DAMAGE as error:
        reason = shortened(error) or type(error).__name__
        raise UserError(
            f"{path} cannot be read as a PyTorch checkpoint: {reason}; copy or download it again"
        ) from error


def _refusal(name: str) -> str:
    if name.startswith(("torch.nn.", "__torch__.")):
        return f"was saved as a whole module, which asks for {name}: nothing of it was run; save its state_dict() alone"
    return (
        f"asks to load {name}, which is code and not plain data: nothing of it was run; save the state_dict() alone, "
        "and if the file is not your own, get it from a source that you trust"
    )


def shortened(text: object) -> str:
    """The text's first 200 characters."""
    text = str(text)
    return text if len(text) <= 200 else f"{text[:200]}..."


def check_tensors(opened: Opened, file_size: int) -> None:
    """`ValueError` where a tensor is not within its storage, or all of them come to far more than the file."""
    read, made, last = 0, 0, None
    for tensor in opened.tensors:
        check_bounds(tensor)
        held, named = opened.storages.size(tensor.storage.key), storage_bytes(tensor.storage)
        if held != named:
            raise ValueError(f"storage {tensor.storage.key!r} has {held} bytes, where {named} were announced")
        read += held if tensor.storage.key != last else 0
        made += math.prod(tensor.shape) * np.dtype(tensor.storage.dtype).itemsize
        last = tensor.storage.key
    if max(read, made) > READINGS * file_size + SPARE_BYTES:
        raise ValueError(f"its tensors claim {max(read, made)} bytes, far more than the file's {file_size}")


def check_bounds(tensor: TensorReference) -> None:
    """`ValueError` where the tensor is not within its storage; one element may stand for many (a stride of 0)."""
    shape, strides, size = tensor.shape, tensor.strides, tensor.storage.size
    name = f"a tensor of shape {shape}, strides {strides} and offset {tensor.offset}"
    if len(shape) > MAX_DIMENSIONS or min(shape, default=1) < 0 or min(strides, default=0) < 0 or tensor.offset < 0:
        raise ValueError(f"out of range: {name}")
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if size < 0 or (math.prod(shape) and last >= size):
        raise ValueError(f"more than its storage of {size} elements: {name}")


def storage_bytes(storage: StorageReference) -> int:
    """Bytes of the storage, as its description claims."""
    return storage.size * np.dtype(storage.dtype).itemsize
