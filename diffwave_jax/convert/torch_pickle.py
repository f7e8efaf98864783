"""The pickles inside PyTorch checkpoints, read as data.

Python's own unpickler imports and calls what a file asks for, and some legal pickles make it hang or fill the memory.
This interpreter knows the opcodes of protocols 2 to 5 that checkpoints need, and builds dicts, lists, tuples, numbers,
strings and `TensorReference`s. What a name stands for, `torch_names` says. Opcodes: the comments in Python's
`pickletools`.
"""

import pickletools
import warnings
from typing import BinaryIO, NamedTuple, TypeVar

from diffwave_jax.convert import torch_names
from diffwave_jax.convert.torch_names import DTYPES, GlobalName, PassedOver, StorageReference, TensorReference

MAX_OPCODES = 2_000_000  # a full-size checkpoint with optimizer state has 150,000
MIN_OPCODES = 200_000  # allowed to any file; further ones need bytes, so that a small file is a second's work
BYTES_PER_OPCODE = 8
MAX_DEPTH = 1000  # of containers being filled; a checkpoint has about 10
PROTOCOLS = range(2, 6)

T = TypeVar("T")


class Pickle(NamedTuple):
    """What a pickle holds, and every tensor and every storage that it mentions."""

    content: object
    tensors: list[TensorReference]
    storages: list[StorageReference]


def read_pickle(stream: BinaryIO, file_size: int) -> Pickle:
    """What the pickle at the stream's position describes; leaves the stream after its STOP.

    Args:
      stream: its bytes, in memory.
      file_size: bytes of the whole file, which bound how long its pickle may be.

    Raises `RefusedName` for a name that `torch_names` does not admit, `ValueError` for anything else that is not a
    well-formed pickle of tensors and plain data.
    """
    machine = _Machine()
    limit = min(MAX_OPCODES, MIN_OPCODES + file_size // BYTES_PER_OPCODE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of escapes in the strings of old opcodes
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if opcode.name == "STOP":
                    return Pickle(machine.pop(), machine.tensors, machine.storages)
                if count >= limit:
                    raise ValueError(f"more than {limit:,} pickle opcodes")
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
        self.storages: list[StorageReference] = []

    def execute(self, opcode: str, argument: object) -> None:
        if opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in LITERALS:
            self.stack.append(argument)
        elif opcode in ACTIONS:
            ACTIONS[opcode](self, argument)
        else:
            raise ValueError(f"pickle opcode {opcode}, which no checkpoint of tensors has")

    def pop(self, kind: type[T] = object) -> T:
        value = self.stack.pop()
        if not isinstance(value, kind):
            raise ValueError(f"a pickle opcode does not accept {_describe(value)}")
        return value

    def top(self, *kinds: type) -> object:
        if not isinstance(self.stack[-1], kinds):
            raise ValueError(f"a pickle opcode does not accept {_describe(self.stack[-1])}")
        return self.stack[-1]

    def pop_mark(self) -> list[object]:
        items = self.stack
        self.stack = self.marked.pop()
        return items


def _describe(value: object) -> str:
    return f"a {type(value).__name__}"


def _mark(machine: _Machine, _: object) -> None:
    if len(machine.marked) >= MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} pickle marks within each other")
    machine.marked.append(machine.stack)
    machine.stack = []


def _protocol(_: _Machine, version: object) -> None:
    if version not in PROTOCOLS:
        raise ValueError(f"pickle protocol {version}, where PyTorch writes 2 to 5")


def _put(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _get(machine: _Machine, index: int) -> None:
    if index not in machine.memo:
        raise ValueError(f"the pickle refers to its entry {index}, which is not there")
    machine.stack.append(machine.memo[index])


def _tuple(size: int | None):
    def build(machine: _Machine, _: object) -> None:
        items = machine.pop_mark() if size is None else [machine.pop() for _ in range(size)][::-1]
        machine.stack.append(tuple(items))

    return build


def _set_items(machine: _Machine, pairs: list[object]) -> None:
    target = machine.top(dict, PassedOver)
    if len(pairs) % 2:
        raise ValueError("a dict in the pickle has a key without a value")
    if isinstance(target, dict):
        items = zip(pairs[::2], pairs[1::2], strict=True)
        target.update((key, value) for key, value in items if torch_names.is_key(key))


def _set_item(machine: _Machine, _: object) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _append(machine: _Machine, _: object) -> None:
    _extend(machine, [machine.pop()])


def _extend(machine: _Machine, items: list[object]) -> None:
    target = machine.top(list, PassedOver)
    if isinstance(target, list):
        target.extend(items)


def _add_items(machine: _Machine, _: object) -> None:
    """ADDITEMS: what a set holds is passed over with it."""
    machine.pop_mark()
    machine.top(PassedOver)


def _frozen_set(machine: _Machine, _: object) -> None:
    machine.pop_mark()
    machine.stack.append(SET)


def _name(machine: _Machine, name: object) -> None:
    module, _, attribute = str(name).partition(" ")
    machine.stack.append(torch_names.admitted(module, attribute))


def _stack_name(machine: _Machine, _: object) -> None:
    attribute, module = machine.pop(str), machine.pop(str)
    machine.stack.append(torch_names.admitted(module, attribute))


def _reduce(machine: _Machine, _: object) -> None:
    """REDUCE and NEWOBJ: a call, or a new object, of a name; only ever a description of it."""
    arguments, function = machine.pop(tuple), machine.pop(GlobalName)
    value = torch_names.call(function, arguments)
    if isinstance(value, TensorReference) and all(value is not known for known in machine.tensors[-1:]):
        machine.tensors.append(value)  # a parameter is the tensor before it, once more
    machine.stack.append(value)


def _reduce_with_names(machine: _Machine, _: object) -> None:
    """NEWOBJ_EX: a new object with named arguments, which are passed over."""
    machine.pop(dict)
    _reduce(machine, _)


def _attributes(machine: _Machine, _: object) -> None:
    """BUILD: such as the modules' version numbers on a state dict; the tensors' meaning does not need them."""
    state = machine.pop()
    machine.stack.append(torch_names.with_state(machine.pop(), state))


def _storage(machine: _Machine, _: object) -> None:
    """BINPERSID: ('storage', type, key, device, size), in old files followed by None."""
    description = machine.pop(tuple)
    match description[:5]:
        case ("storage", GlobalName(name), str(key), str(), int(size)) if name in DTYPES:
            machine.storages.append(StorageReference(DTYPES[name], key, size))
            machine.stack.append(machine.storages[-1])
        case ("module", *_):
            raise ValueError("it holds a whole module, with its source, not only tensors")
        case _:
            raise ValueError("the pickle refers to something that is not a tensor's storage")


SET = PassedOver("builtins.set")
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
ACTIONS = {
    "PROTO": _protocol,
    "MARK": _mark,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memo)),
    "FRAME": lambda machine, _: None,
    "EMPTY_SET": lambda machine, _: machine.stack.append(SET),
    "ADDITEMS": _add_items,
    "FROZENSET": _frozen_set,
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "TUPLE": _tuple(None),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_mark()),
    "APPEND": _append,
    "APPENDS": lambda machine, _: _extend(machine, machine.pop_mark()),
    "GLOBAL": _name,
    "STACK_GLOBAL": _stack_name,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _reduce_with_names,
    "BUILD": _attributes,
    "BINPERSID": _storage,
}
