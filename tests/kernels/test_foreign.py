"""The CPU kernels' side of XLA's foreign function interface, and what comes instead of them."""

import os
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import pytest

from diffwave_jax.kernels import backends
from diffwave_jax.kernels.cpu import foreign, loops, numba
from diffwave_jax.kernels.target import Target


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(False):
        yield


def call(*, results=1, **changes):
    """The spectrum's target with zeros: one head, two states, one direction and a tile of 16 nodes."""
    numba._spectrum_target()
    shapes = {"a": (1, 4, 2), "b": (1, 4, 2), "poles": (1, 3, 2), "beta": (1, 1, 1), "table": (1, 4, 16)}
    arrays = {name: jnp.ones(shape) for name, shape in shapes.items()} | changes
    out = (jax.ShapeDtypeStruct((1, 1, 9), jnp.complex64),) * results
    return jax.ffi.ffi_call("s4_spectrum", out)(*(x for x in arrays.values() if x is not None))


def test_arrays_as_they_should_be():
    assert call()[0].shape == (1, 1, 9)


@pytest.mark.parametrize(
    "changes",
    [
        {"beta": jnp.ones((1, 1))},
        {"beta": jnp.ones((1, 1, 1, 1))},
        {"beta": jnp.ones((1, 1, 1), jnp.int32)},
        {"beta": None},
        {"another": jnp.ones((1, 1, 1))},
        {"results": 2},
    ],
    ids=["rank 2", "rank 4", "type", "an argument less", "an argument more", "a result more"],
)
def test_other_arrays_are_an_error(changes):
    with pytest.raises(Exception, match="s4_spectrum: arrays are not of the number, types and three dimensions"):
        jax.block_until_ready(call(**changes))


@pytest.mark.parametrize("version", [(0, 99), (1, 0)])
def test_a_newer_version_of_the_interface_is_refused(version, monkeypatch):
    """XLA refuses what says that it is newer than itself; it promises to take older minor versions."""
    monkeypatch.setattr(foreign, "VERSION", version)
    with pytest.raises(RuntimeError, match="XLA"):
        foreign.register("s4_newer", loops.spectrum_part, numba._threads, numba.COEFFICIENTS, (jnp.complex64,))


def test_what_is_refused_means_the_xla_kernels(monkeypatch):
    def refuse():
        raise RuntimeError("XLA refuses the CPU kernels")

    monkeypatch.setattr(numba, "check", refuse)
    backends._numba_works.cache_clear()
    try:
        with pytest.warns(RuntimeWarning, match="the xla kernels are used") as said:
            assert backends.best_implementation(Target("cpu")) == "xla"
        assert len(said) == 1
        with warnings.catch_warnings(action="error"):  # it is said once
            assert backends.best_implementation(Target("cpu")) == "xla"
    finally:
        backends._numba_works.cache_clear()


PROGRAM = """
import os, sys
import numpy as np
from diffwave_jax import kernels
from diffwave_jax.kernels.backends import choose

one = np.ones((1, 1), "c8")
def compute():
    return kernels.dplr_kernel(np.ones(1, "f4"), -one, one, one, np.ones((1, 1, 1), "c8"), 4)
"""


def run(program: str, **variables: str) -> subprocess.CompletedProcess:
    command = sys.executable, "-W", "ignore::RuntimeWarning", "-c", PROGRAM + program
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False)


def test_without_numbas_compiler():
    done = run("print(choose(None), np.isfinite(compute()).all())", NUMBA_DISABLE_JIT="1")
    assert done.stdout.split() == ["xla", "True"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_gets_an_error_instead_of_waiting_for_ever():
    program = """
compute()
if os.fork() == 0:
    try:
        compute()
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""
    assert "this process was forked from one that had used JAX" in run(program).stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_forked_before_jax_was_used_computes():
    program = """
if os.fork() == 0:
    print(np.isfinite(compute()).all(), flush=True)
    os._exit(0)
os.wait()
"""
    assert run(program).stdout.strip() == "True"
