"""A layer's recurrence in float32 beside its convolution in float64, at the hardest weights, HiPPO-LegS's own."""

import jax
import numpy as np
import pytest
from flax import nnx
from numba import njit
from scipy import special

from diffwave_jax.kernels import dplr_kernel
from diffwave_jax.kernels.cpu import network as loops
from diffwave_jax.kernels.recurrence import initial_state, step
from diffwave_jax.models.packed import lanes
from diffwave_jax.models.s4 import S4

LENGTH, HEADS = 4000, 8


@pytest.fixture(scope="module")
def layer():
    """(the constants of its recurrence, inputs (L, H), outputs (L, H) of a float64 convolution)."""
    module = S4(HEADS, d_state=64, l_max=LENGTH, tie_state=True, directions=1, rngs=nnx.Rngs(0))
    ssm = module.kernel.on_host()
    u = np.random.default_rng(0).standard_normal((LENGTH, HEADS)).astype(np.float32)
    with jax.enable_x64(True):
        kernel = np.asarray(dplr_kernel(ssm.dt, ssm.w, ssm.b, ssm.p, ssm.c, LENGTH, implementation="reference"))[0]
    size = 2 * LENGTH
    exact = np.fft.irfft(np.fft.rfft(kernel, size) * np.fft.rfft(u.T.astype(np.float64), size), size)[:, :LENGTH].T
    return module.recurrence(), u, exact + np.asarray(module.D[...], np.float64) * u


def check(found: np.ndarray, exact: np.ndarray, rms: np.ndarray) -> None:
    """At most 1e-5 of the rms, three times what is usual for these weights, and no more later than at first."""
    error = np.max(np.abs(found - exact) / rms, axis=1)
    assert error.max() < 1e-5
    assert error[LENGTH // 2 :].max() < 2 * error[: LENGTH // 2].max()


def test_steps_keep_the_precision_of_float32(layer):
    constants, u, exact = layer

    def one(state, u):
        state, y = step(constants, state, u[None])
        return state, y[0]

    found = jax.jit(lambda u: jax.lax.scan(one, initial_state(constants, 1), u)[1])(u)
    check(np.asarray(found), exact, np.sqrt(np.mean(np.square(exact), axis=0)))


@njit
def run(constants, skips, state, u, y):
    for t in range(len(u)):
        loops.recur(constants.ctypes.data, constants.shape[1], skips, state, 0, u[t], y[t])


def test_so_do_the_loops(layer):
    """Whose outputs have gone through GELU, which adds an eighth to an error at most."""
    constants, u, exact = layer
    packed = lanes(constants)
    state = np.zeros((HEADS, packed.shape[1], 2, loops.LANES), np.float32)
    found = np.empty((LENGTH, 1, HEADS), np.float32)
    run(packed, np.stack([constants.skip, constants.feedback]), state.ctypes.data, u[:, None], found)
    check(found[:, 0], exact * special.ndtr(exact), np.sqrt(np.mean(np.square(exact), axis=0)))


def test_states_that_fill_up_the_lanes_stay_out(layer):
    """16 states of a head: the other lanes hold what must not reach an output."""
    module = S4(2, d_state=32, l_max=64, tie_state=True, directions=1, rngs=nnx.Rngs(0))
    constants, u = module.recurrence(), np.random.default_rng(0).standard_normal((64, 1, 2)).astype(np.float32)
    packed = lanes(constants)
    assert packed.shape == (2, 1, loops.PARTS, loops.LANES)
    state, found = np.zeros((2, 1, 2, loops.LANES), np.float32), np.empty((64, 1, 2), np.float32)
    run(packed, np.stack([constants.skip, constants.feedback]), state.ctypes.data, u, found)
    expected, after = [], initial_state(constants, 1)
    for inputs in u:
        after, y = step(constants, after, inputs)
        expected.append(np.asarray(y) * special.ndtr(np.asarray(y)))
    np.testing.assert_allclose(found, np.stack(expected), rtol=0, atol=1e-5)  # both modes' error of outputs of order 1
