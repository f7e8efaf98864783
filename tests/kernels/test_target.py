import jax
import numpy as np
import pytest

from diffwave_jax.kernels import backends, dplr
from diffwave_jax.kernels.backends import best_implementation, choose
from diffwave_jax.kernels.target import Target, compile_for, target


@pytest.mark.parametrize(
    ("found", "version", "best"),
    [
        (Target("cpu"), (0, 10, 2), "numba"),
        (Target("tpu"), (0, 10, 2), "xla"),
        (Target("gpu"), (0, 10, 2), "xla"),
        (Target("cuda", (7, 5)), (0, 10, 2), "xla"),
        (Target("cuda", (8, 0)), (0, 10, 2), "triton"),
        (Target("cuda", (9, 0)), (0, 10, 2), "triton"),
        (Target("cuda", (8, 0)), (0, 11, 0), "triton"),
        (Target("cuda", (9, 0)), (0, 11, 0), "mosaic"),
    ],
)
def test_best_implementation(found, version, best, monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", version)
    assert best_implementation(found) == best


def test_a_card_without_a_triton_backend_in_jax(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert best_implementation(Target("cuda", (9, 0))) == "mosaic"
    assert best_implementation(Target("cuda", (8, 0))) == "xla"


def test_a_cpu_without_a_numba_that_works(monkeypatch):
    monkeypatch.setattr("diffwave_jax.kernels.backends._numba_works", lambda: False)
    assert best_implementation(Target("cpu")) == "xla"


def test_compile_for_another_target():
    assert target() == Target("cpu")
    with compile_for(Target("cuda", (9, 0))):
        assert target() == Target("cuda", (9, 0))
    assert choose(None) == "numba"
    assert choose("mosaic") == "mosaic"


def test_on_a_cpu_numba_is_for_values_with_their_gradient(monkeypatch):
    asked = []
    monkeypatch.setattr(dplr, "backend", lambda name: asked.append(name) or backends.backend(name))
    one = np.ones((1, 1), np.complex64)

    def energy(dt):
        return (dplr.dplr_kernel(dt, -one, one, one, one[None], 4) ** 2).sum()

    energy(np.ones(1, np.float32))
    assert asked == ["xla"]
    jax.grad(energy)(np.ones(1, np.float32))
    assert asked[1:] == ["numba", "numba"]
