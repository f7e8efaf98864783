"""What Numba compiled and kept in the cache folder: whatever is wrong with a file, it is compiled anew."""

import ctypes

import pytest
from numba import types

from diffwave_jax.kernels.cpu import machine_code


def seven_times(x):
    return 7 * x


def difference(x, y):
    return x - y


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFWAVE_JAX_CACHE", str(tmp_path))
    return tmp_path / "numba"


def compiled() -> int:
    """How often the code was found in the cache; it must be right."""
    function = machine_code.compile_function(seven_times, types.intp, types.intp)
    assert ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_ssize_t)(function.address)(6) == 42
    return function.cache_hits


def test_the_second_time_it_is_found(cache):
    assert compiled() == 0
    assert compiled() == 1
    assert [file.name.split("-")[0] for file in cache.iterdir()] == ["seven_times"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:20],
        lambda content: content[:-1],
        lambda content: content[:5] + bytes([content[5] ^ 1]) + content[6:],
        lambda content: content[:500] + bytes([content[500] ^ 64]) + content[501:],
        lambda content: b"\x80\x05garbage" * 99,
    ],
    ids=["empty", "cut in the digest", "cut at the end", "digest flipped", "code flipped", "another file"],
)
def test_a_damaged_file_is_replaced(damage, cache):
    compiled()
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert compiled() == 0
    assert compiled() == 1


@pytest.mark.parametrize("package", ["numba", "llvmlite", "np"])
def test_another_version_is_compiled_anew(package, cache, monkeypatch):
    compiled()
    monkeypatch.setattr(getattr(machine_code, package), "__version__", "0.0.1")
    assert compiled() == 0
    assert len(list(cache.iterdir())) == 2


def test_another_source_is_compiled_anew(cache, tmp_path, monkeypatch):
    compiled()
    monkeypatch.setattr(machine_code, "__file__", str(tmp_path / "sources" / "machine_code.py"))
    assert compiled() == 0


def test_a_cache_folder_that_cannot_be_made(cache):
    cache.write_text("a file")
    assert compiled() == 0
    assert compiled() == 0


def test_a_function_with_its_second_argument():
    minus = machine_code.compile_function(difference, types.intp, types.intp, types.intp)
    engine, address = machine_code.with_second(minus.address, -(2**40))
    assert ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_ssize_t)(address)(2) == 2 + 2**40
    del engine  # it had to live until here
