"""C functions as targets of XLA's foreign function interface, their work shared among threads.

XLA calls a target with the address of a call frame, a C struct of jaxlib's `include/xla/ffi/api/c_api.h`. It is read
here as 64-bit words. Later minor versions of the interface only append to its structs; the sizes of those that lie
inside the frame are checked, for what follows them would move.
"""

import ctypes
import os
from collections.abc import Sequence

import jax
import numpy as np
from llvmlite import ir
from numba import carray, njit, types  # pyright: ignore[reportPrivateImportUsage]: `carray` is public
from numba.extending import intrinsic

from diffwave_jax.kernels.cpu.machine_code import compile_function, with_second

# The version of the interface that this file is written for, major and minor.
VERSION = (0, 3)

# Words of a call frame: its extension, XLA's functions, and the arguments and results, five words each: their size,
# an extension, their number, and the addresses of their kinds and of themselves.
_EXTENSION, _FUNCTIONS, _ARGUMENTS, _RESULTS, _FRAME = 1, 2, 5, 10, 15
_COUNT, _ADDRESSES, _BUFFERS = 2, 4, 5

# Of XLA's functions: the version, both numbers in one word, and the address of the one that makes an error.
_VERSION, _MAKE_ERROR, _API = 4, 6, 7
_INVALID_ARGUMENT = 3
_REQUEST_SIZE = 28  # bytes of what that function takes: three words and half a one

# The kind of extension that asks for the version.
_METADATA = 1

# Of a buffer: its type, data, number of dimensions, and dimensions.
_TYPE, _DATA, _RANK, _DIMENSIONS, _BUFFER = 2, 3, 4, 5, 6
_TYPES = {np.dtype(np.float32): 11, np.dtype(np.complex64): 15}

# Of what each thread gets: its part, the number of parts, and of each array its address and three dimensions.
PARTS, ARRAYS, ARRAY = 1, 2, 4
WORD = 8
_TARGET = 9  # words of what `_handle` knows of a target
RANK = ARRAY - 1

_create_thread = types.ExternalFunction("pthread_create", types.intc(types.intp, types.intp, types.intp, types.intp))
_join_thread = types.ExternalFunction("pthread_join", types.intc(types.intp, types.intp))
_registered: list = []  # machine code, and what it reads, must outlive all calls


def register(name: str, work, threads, arguments: Sequence, results: Sequence) -> str:
    """Makes a function the CPU's target of this name, for arrays of three dimensions.

    XLA gives a call an error, which JAX raises, where arrays have other types or dimensions.

    Args:
      name: of the target, for `jax.ffi.ffi_call`.
      work: from int to int, to be compiled by Numba; called as `work(address)` for each part of the work, each in a
        thread. At the address are words: which part, of how many; then four for each argument and each result, its
        address and dimensions. Must return 0.
      threads: from int to int, to be compiled by Numba: from the address of these words to the number of parts.
      arguments: the types of the arguments, float32 or complex64.
      results: the types of the results.

    Returns:
      The name.

    Raises:
      RuntimeError: XLA has another version of the interface, which does not take calls made for this one.
    """
    code = compile_function(work, types.intp, types.intp)
    parts = compile_function(threads, types.intp, types.intp)
    kinds = np.array([_TYPES[np.dtype(kind)] for kind in (*arguments, *results)], np.intp)
    xla_version = np.full(2, -1, np.intp)
    handler = ctypes.CFUNCTYPE(None)(_handler(name, code, parts, kinds, len(arguments), xla_version))
    jax.local_devices(backend="cpu")  # until there are devices, JAX only notes what is registered
    try:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler), platform="cpu")
    except Exception as error:
        raise RuntimeError(f"XLA refuses the CPU kernels: {error}") from error
    if xla_version[0] != VERSION[0] or xla_version[1] < VERSION[1]:  # it takes older minor versions, or refuses them
        raise RuntimeError(
            f"XLA's foreign function interface has version {xla_version[0]}.{xla_version[1]}, the CPU kernels are "
            f"written for {VERSION[0]}.{VERSION[1]}"
        )
    return name


@njit
def words(address, count):
    """The memory at an address, as an array."""
    return carray(_pointer(address), count, np.intp)  # pyright: ignore[reportCallIssue]: Numba gives the context


@njit
def floats(address, shape):
    """The memory at an address, as a float32 array of this shape."""
    return carray(_pointer(address), shape, np.float32)  # pyright: ignore[reportCallIssue]: Numba gives the context


@intrinsic
def _pointer(typing_context, address):
    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.intp), generate


def _handler(name: str, code, threads, kinds: np.ndarray, arguments: int, xla_version: np.ndarray) -> int:
    """The address of what XLA calls: `_handle` with the words that it needs to know of this target."""
    text = f"{name}: arrays are not of the number, types and three dimensions that the kernel is made for"
    message = np.frombuffer(text.encode() + b"\0", np.uint8)
    version = VERSION[0] | VERSION[1] << 32
    numbers = code.address, threads.address, _processors(), version, arguments, len(kinds)
    target = np.array([*numbers, kinds.ctypes.data, message.ctypes.data, xla_version.ctypes.data], np.intp)
    handle = compile_function(_handle, types.intp, types.intp, types.intp)
    assert handle.address is not None  # it is compiled
    engine, address = with_second(handle.address, target.ctypes.data)
    _registered.append((engine, handle, code, threads, target, kinds, message, xla_version))
    return address


def _handle(frame, target):
    """0, or the address of an error; `target` is the address of `_handler`'s words."""
    known = words(target, _TARGET)
    start, threads, most = known[0], known[1], known[2]
    if _describe(frame, known[3], words(known[8], 2)):
        return 0
    if not _fits(frame, words(known[6], known[5]), known[4]):
        return _error(frame, known[7])
    arrays = _arrays(frame)
    count = min(most, _call(threads, arrays.ctypes.data))
    memory = _parts(arrays, count)
    handle, first, step = memory.ctypes.data, memory[count:].ctypes.data, WORD * arrays.size
    started = 0
    while started < count - 1 and _create_thread(handle + WORD * started, 0, start, first + step * started) == 0:
        started += 1
    for i in range(started, count):  # the last, and those for which the system has no thread
        _call(start, first + step * i)
    for i in range(started):
        _join_thread(memory[i], 0)  # `memory` is used to the end, for Numba frees what no line needs any more
    return 0


@intrinsic
def _call(typing_context, function, argument):
    """Calls the C function at an address, from a word to a word."""

    def generate(context, builder, signature, arguments):
        word = ir.IntType(8 * WORD)
        pointer = builder.inttoptr(arguments[0], ir.FunctionType(word, [word]).as_pointer())
        return builder.call(pointer, [arguments[1]])

    return types.intp(types.intp, types.intp), generate


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@njit
def _describe(frame, version, found):
    """Whether XLA only asks, once, for the version of the interface; the answer is ours, and XLA's is `found`."""
    extension = words(frame, _FRAME)[_EXTENSION]
    if extension == 0 or words(extension, 4)[1] & 0xFFFFFFFF != _METADATA:
        return False
    metadata, functions = words(words(extension, 4)[3], 5), words(words(frame, _FRAME)[_FUNCTIONS], _API)
    found[0], found[1] = functions[_VERSION] & 0xFFFFFFFF, functions[_VERSION] >> 32
    metadata[3], metadata[4] = version, 0  # no traits
    return True


@njit
def _fits(frame, kinds, arguments):
    """Whether the call has as many arguments and results as there are kinds, of these types, in three dimensions."""
    frame = words(frame, _FRAME)
    for at, first, count in ((_ARGUMENTS, 0, arguments), (_RESULTS, arguments, kinds.size - arguments)):
        if frame[at] != WORD * _BUFFERS or frame[at + _COUNT] != count:
            return False
        for i in range(count):
            buffer = words(words(frame[at + _ADDRESSES], count)[i], _BUFFER)
            if buffer[_TYPE] & 0xFFFFFFFF != kinds[first + i] or buffer[_RANK] != RANK:
                return False
    return True


@njit
def _error(frame, message):
    """The address of an error that XLA makes, and frees."""
    make = words(words(frame, _FRAME)[_FUNCTIONS], _API)[_MAKE_ERROR]
    request = np.array([_REQUEST_SIZE, 0, message, _INVALID_ARGUMENT], np.intp)
    error = _call(make, request.ctypes.data)
    return error + 0 * request[0]  # `request` is used to the end, for Numba frees what no line needs any more


@njit
def _arrays(frame):
    """The words for a part, its number and that of parts still to be set."""
    frame = words(frame, _FRAME)
    arguments, results = frame[_ARGUMENTS + _COUNT], frame[_RESULTS + _COUNT]
    found = np.zeros(ARRAYS + ARRAY * (arguments + results), np.intp)
    for i in range(arguments):
        _copy(words(frame[_ARGUMENTS + _ADDRESSES], arguments)[i], found, ARRAYS + ARRAY * i)
    for i in range(results):
        _copy(words(frame[_RESULTS + _ADDRESSES], results)[i], found, ARRAYS + ARRAY * (arguments + i))
    return found


@njit
def _copy(where, found, at):
    """A buffer's address and dimensions."""
    buffer = words(where, _BUFFER)
    dimensions = words(buffer[_DIMENSIONS], RANK)
    found[at] = buffer[_DATA]
    for i in range(RANK):
        found[at + 1 + i] = dimensions[i]


@njit
def _parts(arrays, count):
    """Room for a word for each thread, then the words for all parts."""
    size = arrays.size
    memory = np.zeros(count + count * size, np.intp)
    for part in range(count):
        at = count + part * size
        for i in range(size):
            memory[at + i] = arrays[i]
        memory[at], memory[at + PARTS] = part, count
    return memory
