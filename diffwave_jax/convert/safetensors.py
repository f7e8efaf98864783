"""The safetensors format: the length of a JSON header, the header, and the tensors' bytes one after another.

Format: github.com/huggingface/safetensors, README.md, "Format".
"""

import json
import math
import struct
from typing import BinaryIO

import numpy as np

from diffwave_jax.convert.tensor_file import Opened
from diffwave_jax.convert.torch_names import MAX_DIMENSIONS, StorageReference, TensorReference

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 8 * 2**20  # 656 tensors take 0.1 MB
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def is_safetensors(start: bytes, file_size: int) -> bool:
    """Whether a file begins like this format: `start` holds its first 16 bytes."""
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    return start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{" and 2 <= length <= MAX_HEADER_BYTES


def open_safetensors(file: BinaryIO, file_size: int) -> Opened:
    """Opens the file; raises `ValueError` where its header is damaged or claims what the file does not hold."""
    (length,) = struct.unpack("<Q", file.read(LENGTH_BYTES))
    data = LENGTH_BYTES + length
    if data > file_size:
        raise ValueError("the file ends inside its header (an interrupted download or copy?)")
    content, places = {}, {}
    for name, description in _header(file.read(length)).items():
        if name == "__metadata__":
            continue
        tensor, start, end = _tensor(name, description)
        if end > file_size - data:
            raise ValueError(f"the file ends inside the tensor {name!r} (an interrupted download or copy?)")
        if tensor is not None:
            content[name], places[name] = tensor, (data + start, end - start)
    return Opened(content, list(content.values()), _Places(file, places))


class _Places:
    def __init__(self, file: BinaryIO, places: dict[str, tuple[int, int]]):
        self._file = file
        self._places = places  # key: (position in the file, bytes)

    def size(self, key: str) -> int:
        return self._places[key][1]

    def read(self, key: str) -> bytes:
        position, size = self._places[key]
        self._file.seek(position)
        return self._file.read(size)


def _header(data: bytes) -> dict:
    try:
        header = json.loads(data.decode())
    except RecursionError as error:
        raise ValueError("its header is nested like no checkpoint's") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a table of tensors")
    return header


def _tensor(name: str, description: object) -> tuple[TensorReference | None, int, int]:
    """The tensor, None for one of a type that no conversion needs, and where its bytes begin and end."""
    match description:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(start), int(end)]}:
            if 0 <= start <= end and len(shape) <= MAX_DIMENSIONS and all(type(n) is int and n >= 0 for n in shape):
                return _reference(name, kind, tuple(shape), end - start), start, end
    raise ValueError(f"the tensor {name!r} is not described the way safetensors does")


def _reference(name: str, kind: str, shape: tuple[int, ...], size: int) -> TensorReference | None:
    if kind not in DTYPES:
        return None
    elements = math.prod(shape)
    if elements * np.dtype(DTYPES[kind]).itemsize != size:
        raise ValueError(f"the tensor {name!r} of type {kind} and shape {shape} has {size} bytes")
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return TensorReference(StorageReference(DTYPES[kind], name, elements), 0, shape, strides)
