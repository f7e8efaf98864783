"""What the names in a checkpoint's pickle stand for: data that is described here, never imported and never called.

A name is read (tensors, dicts, numbers), passed over (paths, dates, options beside the weights), or refused. The names
PyTorch writes: `torch/_utils.py`, `torch/_tensor.py` and `torch/serialization.py`.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeGuard

import numpy as np

DTYPES = {
    "torch.storage.UntypedStorage": "uint8",
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
}
ORDERED_DICT = "collections.OrderedDict"
REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
MOVED = {  # modules that other versions of Python and NumPy name otherwise
    "__builtin__": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "pathlib._local": "pathlib",
}


class RefusedName(ValueError):
    """The pickle asks for something that a checkpoint of tensors does not need."""


class GlobalName(NamedTuple):
    """A name that `admitted` knows, never imported."""

    name: str


class PassedOver(NamedTuple):
    """Plain data that no conversion needs; only what it is an instance of is known."""

    name: str


class NumpyType(NamedTuple):
    """A type of numbers of NumPy, such as "f8", or ">f8" where the most significant byte comes first."""

    code: str


class StorageReference(NamedTuple):
    """A block of `size` elements of `dtype` that the file holds under `key`."""

    dtype: str
    key: str
    size: int


class TensorReference(NamedTuple):
    """A strided view of a storage; offset and strides count elements. Nothing has been checked against the storage."""

    storage: StorageReference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def admitted(module: str, name: str) -> GlobalName:
    """The name as data.

    Raises:
      RefusedName: it is none of those that checkpoints of tensors, and the plain data beside them, need.
    """
    full = f"{MOVED.get(module, module)}.{name}"
    if full in CALLS or full in DTYPES or full in PASSED_OVER or full in VALUES:
        return GlobalName(full)
    raise RefusedName(full)


def call(function: GlobalName, arguments: tuple[object, ...]) -> object:
    """What the pickle means by calling `function`; `ValueError` where PyTorch would not call it so."""
    if function.name in PASSED_OVER:
        return PassedOver(function.name)
    if function.name not in CALLS or len(arguments) > MAX_ARGUMENTS:
        raise _unlike_pytorch(function.name)
    try:
        return CALLS[function.name](*arguments)
    except TypeError as error:
        raise _unlike_pytorch(function.name) from error


def _unlike_pytorch(name: str) -> ValueError:
    return ValueError(f"the pickle calls {name} in a way that PyTorch does not")


def _rebuild_tensor(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    requires_grad: object = False,
    hooks: object = None,
    metadata: object = None,
) -> TensorReference | PassedOver:
    if not (isinstance(storage, StorageReference) and type(offset) is int and _is_sizes(shape) and _is_sizes(strides)):
        raise ValueError("a tensor in the pickle is not described the way PyTorch does")
    if len(shape) != len(strides):
        raise ValueError("a tensor in the pickle is not described the way PyTorch does: a stride for each dimension")
    if metadata:  # such as a view that negates: its values are not those in the storage
        return PassedOver("torch.Tensor")
    return TensorReference(storage, offset, shape, strides)


def _rebuild_other_tensor(*_: object) -> PassedOver:
    """An element type that has no storage of its own, such as float8."""
    return PassedOver("torch.Tensor")


def _rebuild_parameter(data: object, *_: object) -> object:
    if not isinstance(data, TensorReference | PassedOver):
        raise _unlike_pytorch("torch._utils._rebuild_parameter")
    return data


def _rebuild_from_type(function: object, _: object, arguments: object, state: object = None) -> object:
    """A tensor with attributes of its own, or of a class of its own."""
    if isinstance(function, GlobalName) and function.name.startswith("torch._utils.") and type(arguments) is tuple:
        return call(function, arguments)
    raise _unlike_pytorch("torch._tensor._rebuild_from_type_v2")


def _empty_dict(*factory: object) -> dict:
    if len(factory) > 1:
        raise _unlike_pytorch("collections.defaultdict")
    return {}


def _counter(counts: object = None) -> dict:
    """A `collections.Counter`, from a dict that was built already."""
    return counts if type(counts) is dict else {}


def _size(sizes: object = ()) -> tuple:
    if not _is_sizes(sizes):
        raise _unlike_pytorch("torch.Size")
    return sizes


def _is_sizes(value: object) -> TypeGuard[tuple[int, ...]]:
    return type(value) is tuple and len(value) <= MAX_DIMENSIONS and all(type(n) is int for n in value)


def _encode(text: object, _: object = None) -> bytes | PassedOver:
    """How protocol 2 spells bytes; longer ones than a number's are no matter here."""
    if isinstance(text, str) and len(text) <= MAX_NUMBER_BYTES:
        return text.encode("latin-1")
    return PassedOver("builtins.bytes")


def _numpy_type(code: object, *_: object) -> NumpyType | PassedOver:
    return NumpyType(code) if isinstance(code, str) and code in NUMBERS else PassedOver("numpy.dtype")


def with_state(value: object, state: object) -> object:
    """What BUILD makes of a value: attributes are left out, but for the byte order of a type of NumPy."""
    if isinstance(value, NumpyType) and type(state) is tuple and len(state) > 1 and state[1] == ">":
        return NumpyType(f">{value.code.lstrip('>')}")
    return value


def _numpy_scalar(kind: object, data: object = b"") -> object:
    """A single number of NumPy, which old loops save as the step or the best loss."""
    if isinstance(kind, NumpyType) and isinstance(data, bytes):
        dtype = np.dtype(kind.code)
        return np.frombuffer(data, dtype if kind.code[0] == ">" else dtype.newbyteorder("<"), count=1)[0].item()
    return PassedOver("numpy.generic")


def is_key(key: object) -> bool:
    """Whether an entry of a dict under this key is kept: strings and small numbers; others can be made to collide."""
    return isinstance(key, str) or (type(key) is int and 0 <= key <= MAX_INTEGER_KEY)


MAX_INTEGER_KEY = 2**48  # old files number parameters by memory address
MAX_DIMENSIONS = 8
MAX_ARGUMENTS = 16  # of a call; each is looked at
MAX_NUMBER_BYTES = 16
NUMBERS = {"b1", "f2", "f4", "f8", *(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8))}

CALLS: dict[str, Callable[..., object]] = {
    REBUILD_TENSOR: _rebuild_tensor,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_other_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": _size,
    ORDERED_DICT: dict,
    "collections.defaultdict": _empty_dict,
    "collections.Counter": _counter,
    "collections.deque": lambda *_: [],
    "builtins.dict": _empty_dict,
    "builtins.list": list,
    "_codecs.encode": _encode,
    "numpy.dtype": _numpy_type,
    "numpy._core.multiarray.scalar": _numpy_scalar,
}

TORCH_DTYPES = (
    *("bfloat16", "bool", "complex128", "complex64", "double", "float", "float16", "float32", "float64", "half"),
    *("float8_e4m3fn", "float8_e5m2", "int", "int16", "int32", "int64", "int8", "long", "short"),
    *("uint16", "uint32", "uint64", "uint8"),
)
VALUES = {  # names that stand for themselves
    *(f"torch.{name}" for name in TORCH_DTYPES),
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
    "numpy.ndarray",
    *(f"builtins.{name}" for name in ("bool", "bytes", "float", "int", "long", "object", "str", "tuple", "type")),
    "typing.Any",
}

PASSED_OVER = {
    *(f"builtins.{name}" for name in ("bytearray", "complex", "frozenset", "range", "set", "slice", "xrange")),
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath")),
    "pathlib.WindowsPath",
    *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
    "decimal.Decimal",
    "fractions.Fraction",
    "uuid.UUID",
    "torch.device",
    "torch.serialization._get_layout",
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_sparse_tensor",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.numeric._frombuffer",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    # Options of libraries that many training scripts use, saved beside the weights.
    "addict.addict.Dict",
    "easydict.EasyDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "ml_collections.config_dict.config_dict.ConfigDict",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "Path")),
    "omegaconf.nodes.StringNode",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode",
}
