"""JAX's compilation cache in the user's cache folder: what one process has compiled, the next one only loads.

JAX can write such a cache itself, but trusts what it reads and never replaces a damaged entry. Here it gets one that
does.
"""

import hashlib
from pathlib import Path

import jax
from jax._src import compilation_cache  # jax has no public name for its cache's place
from llvmlite import binding

from diffwave_jax.cache import cache_folder
from diffwave_jax.kept import Kept

MOST = 2**30  # bytes kept: a training program of full size has a few million


def keep_programs() -> None:
    """Keeps every program that XLA compiles from now on in `programs/` of the user's cache folder, and finds it there.

    JAX's own settings go before: with `JAX_ENABLE_COMPILATION_CACHE=false` in the environment nothing is kept, with
    `JAX_COMPILATION_CACHE_DIR` JAX writes its own cache there. A program is found by a digest of all that decides it:
    JAX makes one of the computation, XLA's version and flags and the devices, and the processor is added here.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:  # pyright: ignore[reportAttributeAccessIssue]: jax adds its options
        return
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "programs"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)  # many small ones take seconds too
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.get_file_cache = lambda path: (Programs(Path(path)), path)


class Programs:
    """What JAX asks for a compiled program, and gives one to keep."""

    def __init__(self, folder: Path):
        self._path = folder  # JAX's name for it
        self._kept = Kept(folder, MOST)

    def get(self, key: str) -> bytes | None:
        """The program that was kept under JAX's key, if there is one."""
        return self._kept.read(_name(key))

    def put(self, key: str, value: bytes) -> None:
        """Keeps a program under JAX's key."""
        self._kept.write(_name(key), value)


def _name(key: str) -> str:
    """A file name for a key of JAX's on this processor: machine code made for another one may not run here."""
    processor = binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    return hashlib.sha256(repr((key, processor)).encode()).hexdigest()[:40]
