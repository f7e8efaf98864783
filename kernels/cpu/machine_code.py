"""C functions that Numba compiles, kept on disk in the user's cache folder for the next process.

Numba's own cache lies beside the source, goes by the one file that defines the function although other files' functions
are part of its machine code, and believes whatever it reads. Here a file's name is a digest of everything that decides
the machine code, so that another version is never found, and a damaged file is compiled anew and replaced.
"""

import contextlib
import hashlib
import pickle
import platform
from collections.abc import Callable
from pathlib import Path

import llvmlite
import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from diffwave_jax.cache import cache_folder
from diffwave_jax.kept import Kept

MOST = 2**25  # bytes kept: a function has up to a million, and the last few versions of each may stay


def compile_function(function: Callable, result: types.Type, *arguments: types.Type) -> CFunc:
    """A C function, from the cache folder where it is there.

    Args:
      function: what Numba is to compile; all functions that become part of its machine code are defined in this folder.
      result: its result's type.
      arguments: the types of its arguments.

    Returns:
      The function; its machine code is at `address`.
    """
    compiled = CFunc(function, (arguments, result), {}, {})
    compiled._cache = _Cache(function.__name__, function.__module__)  # pyright: ignore[reportAttributeAccessIssue]: see `_Cache`
    compiled.compile()
    return compiled


def with_second(function: int, second: int) -> tuple[binding.ExecutionEngine, int]:
    """A C function of one word that calls another, of two words, with this second one.

    Args:
      function: the address of the function of two words.
      second: the word.

    Returns:
      What must outlive all calls, and the address.
    """
    word = ir.IntType(64)
    module = ir.Module()
    caller = ir.Function(module, ir.FunctionType(word, [word]), "with_second")
    builder = ir.IRBuilder(caller.append_basic_block())
    address = builder.inttoptr(word(function), ir.FunctionType(word, [word, word]).as_pointer())
    builder.ret(builder.call(address, [caller.args[0], word(second)]))
    machine = binding.Target.from_default_triple().create_target_machine()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
    engine.finalize_object()
    return engine, engine.get_function_address("with_second")


class _Cache:
    """What Numba asks for a compiled function, and gives one to keep: it calls these two methods.

    Nothing that is wrong with the disk is an error: the function is then compiled, or not kept.
    """

    def __init__(self, name: str, module: str):
        self._name, self._module = name, module

    def load_overload(self, signature, context) -> CompileResult | None:
        try:
            data = _kept().read(self._key(signature, context.codegen()))
            context.refresh()
            return None if data is None else CompileResult._rebuild(context, *pickle.loads(data))
        except Exception:  # whatever a file of a Numba that was changed by hand gives: it is compiled anew
            return None

    def save_overload(self, signature, result) -> None:
        with contextlib.suppress(RuntimeError, pickle.PicklingError):
            _kept().write(self._key(signature, result.codegen), dumps(result._reduce()))

    def _key(self, signature, codegen) -> str:
        key = hashlib.sha256(self._module.encode())
        for source in sorted(Path(__file__).parent.glob("*.py")):
            key.update(hashlib.sha256(source.read_bytes()).digest())
        versions = numba.__version__, llvmlite.__version__, np.__version__, platform.python_version()
        key.update(repr((versions, str(signature), codegen.magic_tuple())).encode())
        return f"{self._name}-{key.hexdigest()[:32]}.bin"


def _kept() -> Kept:
    return Kept(cache_folder() / "numba", MOST)
