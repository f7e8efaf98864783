"""C functions that Numba compiles, kept on disk in the user's cache folder for the next process.

Numba's own cache lies beside the source, goes by the one file that defines the function although other files' functions
are part of its machine code, and believes whatever it reads. Here a file's name is a digest of everything that decides
the machine code, and the file begins with a digest of the rest: another version is never found, and a damaged file is
compiled anew and replaced.
"""

import contextlib
import hashlib
import os
import pickle
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba import types
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from diffwave_jax.cache import cache_folder

# Files kept: those of the two kernels for the last few versions of anything.
KEPT = 16
_DIGEST = hashlib.sha256().digest_size


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
    compiled._cache = _Cache(function.__name__)  # pyright: ignore[reportAttributeAccessIssue]: see `_Cache`
    compiled.compile()
    return compiled


class _Cache:
    """What Numba asks for a compiled function, and gives one to keep: it calls these two methods.

    Nothing that is wrong with the disk is an error: the function is then compiled, or not kept.
    """

    def __init__(self, name: str):
        self._name = name

    def load_overload(self, signature, context) -> CompileResult | None:
        try:
            payload = _read(self._path(signature, context.codegen()))
            context.refresh()
            return None if payload is None else CompileResult._rebuild(context, *payload)
        except Exception:  # whatever a file of a Numba that was changed by hand gives: it is compiled anew
            return None

    def save_overload(self, signature, result) -> None:
        with contextlib.suppress(OSError, RuntimeError, pickle.PicklingError):
            _write(self._path(signature, result.codegen), dumps(result._reduce()))

    def _path(self, signature, codegen) -> Path:
        key = hashlib.sha256()
        for source in sorted(Path(__file__).parent.glob("*.py")):
            key.update(hashlib.sha256(source.read_bytes()).digest())
        versions = numba.__version__, llvmlite.__version__, np.__version__, platform.python_version()
        key.update(repr((versions, str(signature), codegen.magic_tuple())).encode())
        return cache_folder() / "numba" / f"{self._name}-{key.hexdigest()[:32]}.bin"


def _read(path: Path) -> Any:
    """What was kept; None if there is no such file, or if it is not as it was written."""
    content = path.read_bytes()
    digest, data = content[:_DIGEST], content[_DIGEST:]
    return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None


def _write(path: Path, data: bytes) -> None:
    """Writes the file whole or not at all, and removes the oldest ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(data).digest() + data)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
    # Files of killed processes, which have other names, are the oldest ones some day.
    for old in sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime)[:-KEPT]:
        old.unlink()
