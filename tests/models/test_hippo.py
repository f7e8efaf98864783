"""The initial state against its definition, in float64."""

import numpy as np
import pytest

from diffwave_jax.models import hippo


def full(half):
    return np.concatenate([half, half.conj()], axis=-1)


@pytest.mark.parametrize("n_states", [2, 8, 64])
def test_dplr_form_is_the_hippo_matrix(n_states):
    state = hippo.legs(n_states)
    w, P, B = full(state.w), full(state.P), full(state.B)
    A = state.V @ (np.diag(w) - np.outer(P, P.conj())) @ state.V.conj().T
    n = np.arange(n_states)
    expected = -np.tril(np.sqrt(np.outer(2 * n + 1, 2 * n + 1)), -1) - np.diag(n + 1)
    np.testing.assert_allclose(A, expected, atol=1e-11 * n_states)  # rounding of entries up to 2 N
    np.testing.assert_allclose(state.V @ B, np.sqrt(2 * n + 1), atol=1e-12 * n_states)


def test_odd_number_of_states_is_refused():
    with pytest.raises(ValueError, match="even"):
        hippo.legs(7)


def test_length_correction_gives_the_truncated_kernel():
    """With the corrected C, C (I - dA z)^-1 dB over the roots of unity is the DFT of the kernel's first l_max taps."""
    rng = np.random.default_rng(0)
    l_max, log_dt = 24, np.log([0.02, 0.3])
    C = rng.normal(size=(1, 2, 4)) + 1j * rng.normal(size=(1, 2, 4))
    corrected = hippo.length_corrected(C, log_dt, l_max)
    state = hippo.legs(8)
    A = np.diag(full(state.w)) - np.outer(full(state.P), full(state.P).conj())
    for h, dt in enumerate(np.exp(log_dt)):
        inverse = np.linalg.inv(np.eye(8) - dt / 2 * A)
        dA, dB = inverse @ (np.eye(8) + dt / 2 * A), dt * inverse @ full(state.B)
        taps = [full(C[0, h]) @ np.linalg.matrix_power(dA, l) @ dB for l in range(l_max)]
        nodes = np.exp(-2j * np.pi * np.arange(l_max) / l_max)
        spectrum = [full(corrected[0, h]) @ np.linalg.solve(np.eye(8) - dA * z, dB) for z in nodes]
        np.testing.assert_allclose(np.fft.ifft(spectrum), taps, atol=1e-12)
