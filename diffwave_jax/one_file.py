"""A model as one file in the safetensors format: its weights, and as metadata its config. The form to hand on.

Format: github.com/huggingface/safetensors, README.md, "Format": the length of a JSON header, the header, and the
tensors' bytes one after another. Weights are float32.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from diffwave_jax.errors import UserError, reason
from diffwave_jax.files import complete, make_folder, usable

SUFFIX = ".safetensors"
KIND = "diffwave_jax"  # what the metadata's `format` says
ALIGNMENT = 8  # bytes: where the tensors may begin
LARGEST_HEADER = 2**26


class OneFile(NamedTuple):
    """What such a file holds.

    Attributes:
      config: the run's config as plain data.
      weights: {dotted name: float32 array}.
      step: training steps done; 0 where nobody said it.
    """

    config: dict
    weights: dict[str, np.ndarray]
    step: int


def is_named_so(path: str | Path) -> bool:
    """Whether a path is that of such a file, by its name."""
    return Path(path).suffix.lower() == SUFFIX


def save(path: str | Path, config: Mapping, weights: Mapping[str, np.ndarray], step: int = 0) -> Path:
    """Writes the file, and reads it back before it appears under its name.

    Args:
      path: ends in `.safetensors`; a file that is there is replaced.
      config: the run's config as plain data.
      weights: {dotted name: float32 array}.
      step: training steps done.

    Returns:
      The path.

    Raises:
      UserError: another ending, or the file cannot be written.
    """
    path = usable(path)
    if not is_named_so(path):
        raise UserError(f"{path} does not end in {SUFFIX}, which is how a model in one file is called")
    arrays = {name: np.asarray(weights[name], "<f4", order="C") for name in sorted(weights)}
    make_folder(path.parent)
    with complete(path) as partial:
        with partial.open("wb") as file:
            file.write(_head(json.dumps(config), arrays, step))
            for array in arrays.values():
                file.write(array.data)
        if _bits(read(partial).weights) != _bits(arrays):
            raise OSError("what was written reads back otherwise")
    return path


def read(path: str | Path) -> OneFile:
    """Reads such a file; what its metadata says of its bytes is verified.

    Raises:
      UserError: no such file, not such a file, or one that is damaged.
    """
    path = usable(path)
    if not path.is_file():
        raise UserError(f"no model at {path}: give a file that model.save wrote, or a run's folder")
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    except (OSError, ValueError, LookupError, TypeError, RecursionError, struct.error) as error:
        raise UserError(f"{path} cannot be read as a model ({reason(error)}): copy or download it again") from error


def is_ours(path: str | Path) -> bool:
    """Whether there is a file here that this package wrote, damaged or not."""
    path = usable(path)
    if not path.is_file():  # a pipe would be waited for
        return False
    try:
        with path.open("rb") as file:
            return _header(file)[0]["__metadata__"]["format"] == KIND
    except (OSError, ValueError, LookupError, TypeError, RecursionError, struct.error):
        return False


def _head(config: str, arrays: Mapping[str, np.ndarray], step: int) -> bytes:
    """All that comes before the tensors' bytes."""
    metadata = {"format": KIND, "step": str(step), "config": config, "sha256": _digest(str(step), config, arrays)}
    header: dict[str, dict] = {"__metadata__": metadata}
    end = 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text


def _header(file: BinaryIO) -> tuple[dict, int]:
    """The header, and where the tensors begin."""
    (length,) = struct.unpack("<Q", file.read(8))
    if length > LARGEST_HEADER:
        raise ValueError("it does not begin as safetensors does")
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not a table of tensors")
    return header, 8 + length


def _read(file: BinaryIO, size: int) -> OneFile:
    header, start = _header(file)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != KIND:
        raise UserError("holds tensors, but no model of this package: python -m diffwave_jax convert takes many others")
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata are not text")
    weights = _tensors(file, header, size - start)
    if metadata["sha256"] != _digest(metadata["step"], metadata["config"], weights):
        raise ValueError("its bytes are not what was written")
    return OneFile(json.loads(metadata["config"]), weights, int(metadata["step"]))


def _tensors(file: BinaryIO, entries: Mapping[str, Mapping], room: int) -> dict[str, np.ndarray]:
    """The tensors; they lie one after another, so that a small file cannot claim the same bytes many times."""
    weights, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        if entry["dtype"] != "F32" or first != end or not first <= last <= room:
            raise ValueError("it ends before its tensors do, or they are of another kind")
        weights[name] = np.frombuffer(file.read(last - first), "<f4").reshape(entry["shape"]).astype(np.float32)
        end = last
    return weights


def _digest(step: str, config: str, weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the step's and the config's text, and of each weight's name and bytes, by name."""
    digest = hashlib.sha256(f"{step} {config}".encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name], "<f4").data)
    return digest.hexdigest()


def _bits(weights: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in weights.items()}
