"""The pickles inside PyTorch checkpoints, read as data.

Python's own unpickler imports and calls what a file asks for, and some legal pickles make it hang or fill the memory.
This interpreter knows the thirty-odd opcodes of protocol 2 that a checkpoint of tensors needs, builds dicts, lists,
tuples, numbers, strings and `TensorReference`s, and refuses the rest. Opcodes: the comments in Python's `pickletools`;
the names PyTorch writes: `torch/_utils.py` and `torch/serialization.py`.
"""

import pickletools
from typing import BinaryIO, NamedTuple

MAX_OPCODES = 2_000_000  # a full-size checkpoint with optimizer state has 150,000
MAX_INTEGER_KEY = 2**48  # old files number parameters by memory address; larger keys can be made to collide

DTYPES = {
    "torch FloatStorage": "float32",
    "torch DoubleStorage": "float64",
    "torch HalfStorage": "float16",
    "torch LongStorage": "int64",
    "torch IntStorage": "int32",
}
ORDERED_DICT = "collections OrderedDict"
REBUILD_TENSOR = "torch._utils _rebuild_tensor_v2"
ADMITTED_NAMES = {ORDERED_DICT, REBUILD_TENSOR, *DTYPES}


class RefusedName(ValueError):
    """The pickle asks for something that a checkpoint of tensors does not need."""


class GlobalName(NamedTuple):
    """One of `ADMITTED_NAMES`, never imported."""

    name: str


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


class Pickle(NamedTuple):
    """What a pickle holds, and every tensor that it mentions."""

    content: object
    tensors: list[TensorReference]


def read_pickle(stream: BinaryIO) -> Pickle:
    """What the pickle at the stream's position describes; leaves the stream after its STOP.

    Raises `RefusedName` for a name outside `ADMITTED_NAMES`, `ValueError` for anything else that is not a well-formed
    pickle of tensors and plain containers.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if opcode.name == "STOP":
                return Pickle(machine.pop(), machine.tensors)
            if count >= MAX_OPCODES:
                raise ValueError(f"more than {MAX_OPCODES:,} pickle opcodes")
            machine.execute(opcode.name, argument)
    except IndexError as error:
        raise ValueError("a pickle opcode takes more than there is on the stack") from error
    raise ValueError("the pickle has no end")


class _Machine:
    """The stack, the marks (each the stack that a MARK set aside) and the memo of a running pickle."""

    def __init__(self):
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.tensors: list[TensorReference] = []

    def execute(self, opcode: str, argument: object) -> None:
        if opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in ACTIONS:
            ACTIONS[opcode](self, argument)
        else:
            raise ValueError(f"pickle opcode {opcode}, which no checkpoint of tensors has")

    def pop(self, kind: type | tuple[type, ...] = object) -> object:
        value = self.stack.pop()
        if not isinstance(value, kind):
            raise ValueError(f"a pickle opcode does not accept {_describe(value)}")
        return value

    def top(self, kind: type) -> object:
        if not isinstance(self.stack[-1], kind):
            raise ValueError(f"a pickle opcode does not accept {_describe(self.stack[-1])}")
        return self.stack[-1]

    def pop_mark(self) -> list[object]:
        items = self.stack
        self.stack = self.marked.pop()
        return items


def _describe(value: object) -> str:
    return f"a {type(value).__name__}"


def _mark(machine: _Machine, _: object) -> None:
    machine.marked.append(machine.stack)
    machine.stack = []


def _protocol(_: _Machine, version: object) -> None:
    if version != 2:
        raise ValueError(f"pickle protocol {version}, where PyTorch writes protocol 2")


def _put(machine: _Machine, index: object) -> None:
    machine.memo[index] = machine.stack[-1]


def _get(machine: _Machine, index: object) -> None:
    if index not in machine.memo:
        raise ValueError(f"the pickle refers to its entry {index}, which is not there")
    machine.stack.append(machine.memo[index])


def _tuple(size: int | None):
    def build(machine: _Machine, _: object) -> None:
        items = machine.pop_mark() if size is None else [machine.pop() for _ in range(size)][::-1]
        machine.stack.append(tuple(items))

    return build


def _set_items(machine: _Machine, pairs: list[object]) -> None:
    target = machine.top(dict)
    if len(pairs) % 2:
        raise ValueError("a dict in the pickle has a key without a value")
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        integer = type(key) is int and 0 <= key <= MAX_INTEGER_KEY
        if not (integer or isinstance(key, str)):
            raise ValueError(f"a dict in the pickle has {_describe(key)} out of range as its key")
        target[key] = value


def _set_item(machine: _Machine, _: object) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _append(machine: _Machine, _: object) -> None:
    value = machine.pop()
    machine.top(list).append(value)


def _append_marked(machine: _Machine, _: object) -> None:
    items = machine.pop_mark()
    machine.top(list).extend(items)


def _name(machine: _Machine, name: object) -> None:
    if name not in ADMITTED_NAMES:
        raise RefusedName(str(name).replace(" ", ".", 1))
    machine.stack.append(GlobalName(name))


def _reduce(machine: _Machine, _: object) -> None:
    arguments, function = machine.pop(tuple), machine.pop(GlobalName)
    if function.name == REBUILD_TENSOR:
        machine.tensors.append(_tensor(arguments))
        machine.stack.append(machine.tensors[-1])
    elif function.name == ORDERED_DICT and not arguments:
        machine.stack.append({})
    else:
        raise ValueError(f"the pickle calls {function.name.replace(' ', '.')} in a way that PyTorch does not")


def _discard_attributes(machine: _Machine, _: object) -> None:
    """BUILD: PyTorch hangs the modules' version numbers on the state dict; the tensors' meaning does not need them."""
    machine.pop(dict)
    machine.top(dict)


def _storage(machine: _Machine, _: object) -> None:
    """BINPERSID: ('storage', type, key, device, size), in old files followed by None."""
    match machine.pop(tuple):
        case ("storage", GlobalName(name), str(key), str(), int(size)) if name in DTYPES:
            machine.stack.append(StorageReference(DTYPES[name], key, size))
        case ("storage", GlobalName(name), str(key), str(), int(size), None) if name in DTYPES:
            machine.stack.append(StorageReference(DTYPES[name], key, size))
        case _:
            raise ValueError("the pickle refers to something that is not a tensor's storage")


def _tensor(arguments: tuple[object, ...]) -> TensorReference:
    match arguments:
        case (StorageReference() as storage, int(offset), tuple(shape), tuple(strides), bool(), dict()):
            if len(shape) == len(strides) and all(type(n) is int for n in shape + strides):
                return TensorReference(storage, offset, shape, strides)
    raise ValueError("a tensor in the pickle is not described the way PyTorch does")


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
ACTIONS = {
    "PROTO": _protocol,
    "MARK": _mark,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "TUPLE": _tuple(None),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_mark()),
    "APPEND": _append,
    "APPENDS": _append_marked,
    "GLOBAL": _name,
    "REDUCE": _reduce,
    "BUILD": _discard_attributes,
    "BINPERSID": _storage,
}
