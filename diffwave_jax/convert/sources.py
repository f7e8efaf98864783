"""Tensors to be read as float32, from a file as they are or worked out from others of it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from diffwave_jax.convert.tensor_file import TensorFile
from diffwave_jax.convert.torch_names import TensorReference

FLOATS = ("float32", "float64", "float16", "bfloat16")


class Source(NamedTuple):
    """A tensor that can be read.

    Attributes:
      shape: its shape.
      dtype: its element type in the file.
      read: its values, float32.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


def in_file(file: TensorFile, tensor: TensorReference) -> Source:
    """A tensor as the file has it."""
    return Source(tensor.shape, tensor.storage.dtype, lambda: _float32(file.read(tensor)))


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what becomes infinite is told with what is not finite
        return array.astype(np.float32, copy=False)


def with_weight_norm(sources: Mapping[str, Source], modules: tuple[str, ...]) -> dict[str, Source]:
    """The sources with the weights of `modules` as a length g and a direction v, where they are multiplied out.

    Args:
      sources: {name: tensor}.
      modules: how the names of the modules end that the network stores so.
    """
    split = {}
    for name, source in sources.items():
        module = name.removesuffix(".weight")
        normed = module != name and any(module == end or module.endswith(f".{end}") for end in modules)
        if normed and len(source.shape) > 1:
            split[f"{module}.weight_g"] = Source((source.shape[0], *[1] * (len(source.shape) - 1)), *_g(source))
            split[f"{module}.weight_v"] = Source(source.shape, *_v(source))
        else:
            split[name] = source
    return split


def _g(weight: Source) -> tuple[str, Callable[[], np.ndarray]]:
    return weight.dtype, lambda: _norm(weight.read()).astype(np.float32)


def _v(weight: Source) -> tuple[str, Callable[[], np.ndarray]]:
    """The weight itself; a row of zeros gets some direction, as 0 / 0 has none."""

    def read() -> np.ndarray:
        value = weight.read()
        return np.where(_norm(value) == 0, np.float32(1), value)

    return weight.dtype, read


def _norm(weight: np.ndarray) -> np.ndarray:
    """The norms of each output's weights, float64."""
    return np.sqrt(np.sum(np.square(weight, dtype=np.float64), axis=tuple(range(1, weight.ndim)), keepdims=True))
