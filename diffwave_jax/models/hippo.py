"""The HiPPO-LegS initial state of S4, in float64 (Gu et al., arXiv 2111.00396).

With A the HiPPO-LegS matrix and P the low-rank term, `A + P P^T` is normal: V diag(w) V^*. S4 works in the basis V,
where A is diagonal plus low rank (DPLR) and states come in conjugate pairs, of which one each is kept.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Complex128, Float

from diffwave_jax.kernels.truncation import bilinear


class LegS(NamedTuple):
    """HiPPO-LegS of N states; M = N // 2 of each conjugate pair.

    Attributes:
      w: (M,) complex eigenvalues with positive imaginary part.
      B: (M,) complex input vector.
      P: (M,) complex low-rank vector.
      A: (N, N) real state matrix, in the basis before diagonalisation.
      V: (N, N) complex unitary basis: the kept eigenvectors, then their conjugates.
    """

    w: np.ndarray
    B: np.ndarray
    P: np.ndarray
    A: np.ndarray
    V: np.ndarray


@functools.cache
def legs(n_states: int) -> LegS:
    """HiPPO-LegS with `n_states` (even) states, diagonalised (S4, appendix C)."""
    if n_states < 2 or n_states % 2:
        raise ValueError(f"the number of states must be even and at least 2, got {n_states}")
    n = np.arange(n_states)
    scale = np.sqrt(2 * n + 1.0)
    A = -np.tril(np.outer(scale, scale), -1) - np.diag(n + 1.0)
    P = np.sqrt(n + 0.5)
    # A + P P^T = -1/2 I + skew-symmetric, so -i times the skew part is Hermitian and its eigenvectors are unitary.
    skew = A + np.outer(P, P) + 0.5 * np.eye(n_states)
    imaginary, vectors = np.linalg.eigh(-1j * skew)
    kept = vectors[:, imaginary > 0]
    return LegS(
        w=-0.5 + 1j * imaginary[imaginary > 0],
        B=kept.conj().T @ scale,
        P=kept.conj().T @ P,
        A=A,
        V=np.concatenate([kept, kept.conj()], axis=1),
    )


def length_corrected(
    C: Complex[np.ndarray, "directions heads states"], log_dt: Float[np.ndarray, " heads"], l_max: int
) -> Complex128[np.ndarray, "directions heads states"]:
    """`(I - dA^l_max)^T C`: what the truncated generating function of the kernel needs (S4, section 3.2).

    Args:
      C: (D, H, M) complex output vectors.
      log_dt: (H,) log step sizes.
      l_max: kernel length.

    Returns:
      (D, H, M) complex128.
    """
    state = legs(2 * C.shape[-1])
    full = np.concatenate([C, C.conj()], axis=-1)
    corrected = np.empty_like(C, np.complex128)
    for h, dt in enumerate(np.exp(np.asarray(log_dt, np.float64))):
        # In the real basis the powers cost a quarter; C lives in the basis V, where dA is V^* (.) V.
        power = np.linalg.matrix_power(bilinear(state.A, dt), l_max)
        moved = (full[:, h] @ state.V.conj().T) @ power @ state.V
        corrected[:, h] = (full[:, h] - moved)[:, : C.shape[-1]]
    return corrected
