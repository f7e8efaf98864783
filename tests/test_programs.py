"""JAX's compilation cache: programs are found again, damaged ones are not, and a kernel's loops are never in them."""

import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src import compilation_cache

from diffwave_jax import programs
from diffwave_jax.cache import CACHE_VARIABLE, cache_folder
from diffwave_jax.programs import keep_programs

SETTINGS = (
    "jax_enable_compilation_cache",
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """Where programs are kept, in a process that starts to keep them; JAX's settings are put back."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(compilation_cache, "get_file_cache", compilation_cache.get_file_cache)
    before = {name: getattr(jax.config, name) for name in SETTINGS}
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
    yield tmp_path / "programs"
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture
def events():
    """The names of what JAX tells of its cache."""
    told = []

    def listen(name, **_):
        told.append(name.rsplit("/", 1)[-1])

    jax.monitoring.register_event_listener(listen)
    yield told
    jax.monitoring.unregister_event_listener(listen)


def compute() -> float:
    """As a new process would."""
    jax.clear_caches()
    return float(jax.jit(lambda x: jnp.sum(jnp.sin(x) @ x))(np.eye(3, dtype=np.float32)))


def test_a_program_is_found_again(folder, events):
    keep_programs()
    first = compute()
    assert "cache_misses" in events and "cache_hits" not in events
    events.clear()
    assert compute() == first
    assert "cache_hits" in events and "cache_misses" not in events
    assert len(list(folder.iterdir())) > 0


def test_a_damaged_program_is_compiled_anew(folder, events, recwarn):
    keep_programs()
    first = compute()
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    events.clear()
    assert compute() == first
    assert "cache_hits" not in events
    assert compute() == first
    assert "cache_hits" in events and not list(recwarn)


def test_another_processor_s_program_is_not_found(folder, events, monkeypatch):
    keep_programs()
    first = compute()
    monkeypatch.setattr(programs.binding, "get_host_cpu_name", lambda: "another")
    events.clear()
    assert compute() == first
    assert "cache_hits" not in events


def test_a_folder_that_cannot_be_made(folder, recwarn):
    folder.write_text("a file")
    keep_programs()
    assert compute() == compute() and not list(recwarn)


def test_jax_s_own_settings_go_before(folder, tmp_path):
    jax.config.update("jax_enable_compilation_cache", False)
    keep_programs()
    assert jax.config.jax_compilation_cache_dir is None
    jax.config.update("jax_enable_compilation_cache", True)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "own"))
    keep_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "own")
    compute()
    assert not folder.exists()


def test_a_kept_program_knows_what_memory_it_needs(folder, events):
    """`generation.chain` asks a compiled program, so as to choose a batch that fits."""
    keep_programs()
    x = jax.ShapeDtypeStruct((99, 99), jnp.float32)
    plans = []
    for _ in range(2):
        jax.clear_caches()
        plan = jax.jit(lambda x: jnp.sin(x @ x) @ x).lower(x).compile().memory_analysis()
        plans.append((plan.temp_size_in_bytes, plan.output_size_in_bytes))
    assert "cache_hits" in events
    assert plans[0] == plans[1] and plans[0][1] == 99 * 99 * 4


PROGRAM = """
import sys
import jax, jax.numpy as jnp
from diffwave_jax.kernels.cpu import foreign
from diffwave_jax.programs import keep_programs

keep_programs()
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
FACTOR = int(sys.argv[1])

def work(address):
    arrays = foreign.words(address, foreign.ARRAYS + 2 * foreign.ARRAY)
    size = arrays[foreign.ARRAYS + 3]
    x = foreign.floats(arrays[foreign.ARRAYS], size)
    y = foreign.floats(arrays[foreign.ARRAYS + foreign.ARRAY], size)
    for i in range(size):
        y[i] = FACTOR * x[i]
    return 0

def one(address):
    return 1

work.__name__ += sys.argv[1]  # by which its machine code is kept
name = foreign.register("times", work, one, (jnp.float32,), (jnp.float32,))
x = jnp.arange(3.0)[None, None]
y = jax.jit(lambda x: 1 + jax.ffi.ffi_call(name, jax.ShapeDtypeStruct(x.shape, x.dtype))(x))(x)
print(*y.ravel().astype(int).tolist(), len(hits) > 0)
"""


def test_a_changed_loop_is_what_a_kept_program_calls(tmp_path):
    """A program holds a loop's name, not its code."""
    if (cache_folder() / "numba").is_dir():
        shutil.copytree(cache_folder() / "numba", tmp_path / "numba")  # saves compiling what all loops share
    environment = os.environ | {CACHE_VARIABLE: str(tmp_path), "JAX_ENABLE_COMPILATION_CACHE": "true"}
    said = []
    for factor in ("2", "5"):
        command = [sys.executable, "-c", PROGRAM, factor]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    assert said == [["1", "3", "5", "False"], ["1", "6", "11", "True"]]
