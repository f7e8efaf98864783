"""C functions as targets of XLA's foreign function interface, their work shared among threads.

XLA calls a target with the address of a call frame, a C struct of jaxlib's `include/xla/ffi/api/c_api.h`. It is read
here as 64-bit words; later versions of the interface only append to its structs.
"""

import ctypes
import os

import jax
import numpy as np
from numba import carray, cfunc, njit, types  # pyright: ignore[reportPrivateImportUsage]: `carray` is public
from numba.extending import intrinsic

# Words of a call frame: its extension, XLA's functions, and the numbers and addresses of arguments and results.
_EXTENSION, _FUNCTIONS, _ARGUMENTS, _RESULTS, _FRAME = 1, 2, 7, 12, 15

# The kind of extension that asks for the version.
_METADATA = 1

# Of a buffer: its data, and its dimensions.
_DATA, _DIMENSIONS, _BUFFER = 3, 5, 6

# Of what each thread gets: its part, the number of parts, and of each array its address and three dimensions.
PARTS, ARRAYS, ARRAY = 1, 2, 4
WORD = 8

_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_ssize_t)
_create_thread = types.ExternalFunction("pthread_create", types.intc(types.intp, types.intp, types.intp, types.intp))
_join_thread = types.ExternalFunction("pthread_join", types.intc(types.intp, types.intp))
_registered: list = []  # machine code must outlive all calls


def register(name: str, work, threads) -> str:
    """Makes a function the CPU's target of this name, for arrays of float32 or complex64 with three dimensions.

    Args:
      name: of the target, for `jax.ffi.ffi_call`.
      work: from int to int, to be compiled by Numba; called as `work(address)` for each part of the work, each in a
        thread. At the address are words: which part, of how many; then four for each argument and each result, its
        address and dimensions. Must return 0.
      threads: compiled by Numba, from these words to the number of parts.

    Returns:
      The name.
    """
    work = cfunc(types.intp(types.intp), cache=True)(work)
    handler = _handler(work, threads)
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(handler.ctypes), platform="cpu")
    _registered.append((handler, work))
    return name


@njit
def words(address, count):
    """The memory at an address, as an array."""
    return carray(_pointer(address), count, np.intp)  # pyright: ignore[reportCallIssue]: Numba gives the context


@njit
def floats(address, shape):
    """The same as float32."""
    return carray(_pointer(address), shape, np.float32)  # pyright: ignore[reportCallIssue]: Numba gives the context


@intrinsic
def _pointer(typing_context, address):
    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.intp), generate


def _handler(work, threads):
    """What XLA calls. It is not cached on disk: it holds addresses of this process."""
    start, call, most = work.address, _FUNCTION(work.address), _processors()

    @cfunc(types.intp(types.intp))
    def handler(frame):
        """0: there is no error to report."""
        if _describe(frame):
            return 0
        arrays = _arrays(frame)
        count = min(most, threads(arrays))
        memory = _parts(arrays, count)
        handle, first, step = memory.ctypes.data, memory[count:].ctypes.data, WORD * arrays.size
        started = 0
        while started < count - 1 and _create_thread(handle + WORD * started, 0, start, first + step * started) == 0:
            started += 1
        for i in range(started, count):  # the last, and those for which the system has no thread
            call(first + step * i)
        for i in range(started):
            _join_thread(memory[i], 0)  # `memory` is used to the end, for Numba frees what no line needs any more
        return 0

    return handler


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@njit
def _describe(frame):
    """Whether XLA only asks, once, for the version of the interface. The answer is the version that XLA has."""
    extension = words(frame, _FRAME)[_EXTENSION]
    if extension == 0 or words(extension, 4)[1] & 0xFFFFFFFF != _METADATA:
        return False
    metadata, functions = words(words(extension, 4)[3], 5), words(words(frame, _FRAME)[_FUNCTIONS], 5)
    metadata[3], metadata[4] = functions[4], 0  # major and minor version, no traits
    return True


@njit
def _arrays(frame):
    """The words for a part, its number and that of parts still to be set."""
    frame = words(frame, _FRAME)
    arguments, results = frame[_ARGUMENTS], frame[_RESULTS]
    found = np.zeros(ARRAYS + ARRAY * (arguments + results), np.intp)
    for i in range(arguments):
        _copy(words(frame[_ARGUMENTS + 2], arguments)[i], found, ARRAYS + ARRAY * i)
    for i in range(results):
        _copy(words(frame[_RESULTS + 2], results)[i], found, ARRAYS + ARRAY * (arguments + i))
    return found


@njit
def _copy(where, found, at):
    """A buffer's address and dimensions."""
    buffer = words(where, _BUFFER)
    dimensions = words(buffer[_DIMENSIONS], ARRAY - 1)
    found[at] = buffer[_DATA]
    for i in range(ARRAY - 1):
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
