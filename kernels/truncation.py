"""The length correction of C: taken off, put on, or changed to another length, in float64 on the host.

The kernel of length L comes from a truncated generating function, which needs `(I - dA^L)^T C` in place of the true
output vectors C (Gu et al. 2021, arXiv 2111.00396, section 3.2). That product is what is stored and trained.
"""

import numpy as np

HEADS_AT_ONCE = 64  # of N x N matrices each


def with_length(dt, w, p, c, old: int | None, new: int | None, *, q=None) -> np.ndarray:
    """C of another kernel length: exact, but for float64's rounding; kernels cut to the shorter length agree.

    Args:
      dt: step sizes (H,).
      w: eigenvalues (H, M) or, tied, (1, M), complex, one of each conjugate pair.
      p: low-rank vectors (H, M) or (1, M), complex.
      c: output vectors (D, H, M), complex, corrected for the length `old`.
      old: that length; None if `c` is the true one.
      new: the length to correct for; None for the true C.
      q: the other low-rank vectors, as `p`; None for `conj(p)`.

    Returns:
      (D, H, M) complex128.
    """
    c = np.asarray(c, np.complex128)
    # With a pair's state x = a + i b, (a, b) is a real state whose output 2 Re(c x) is 2 (c_re, -c_im).(a, b).
    rows = np.concatenate([c.real, -c.imag], axis=-1).swapaxes(0, 1)
    a = state_matrices(w, p, np.conj(p) if q is None else q)
    changed = np.empty_like(rows)
    for start in range(0, len(rows), HEADS_AT_ONCE):
        heads = slice(start, start + HEADS_AT_ONCE)
        da = bilinear(a if len(a) == 1 else a[heads], np.asarray(dt, np.float64)[heads])
        changed[heads] = _change(rows[heads], da, old, new)
    real, imaginary = np.split(changed.swapaxes(0, 1), 2, axis=-1)
    return real - 1j * imaginary


def bilinear(a: np.ndarray, dt: np.ndarray | float) -> np.ndarray:
    """Bilinear discretisations (..., N, N) of state matrices (..., N, N) with steps `dt` (...) (S4, equation 3)."""
    half_step, identity = np.asarray(dt)[..., None, None] / 2 * a, np.eye(a.shape[-1])
    return np.linalg.solve(identity - half_step, identity + half_step)


def state_matrices(w, p, q) -> np.ndarray:
    """`diag(w) - P Q^T` as real matrices (S, 2M, 2M), acting on the states' real parts, then their imaginary parts."""
    w, p, q = (np.asarray(x, np.complex128) for x in (w, p, q))
    real, imaginary = _diagonal(w.real), _diagonal(w.imag)
    column = np.concatenate([p.real, p.imag], axis=-1)[..., :, None]
    row = np.concatenate([q.real, -q.imag], axis=-1)[..., None, :]
    return np.block([[real, -imaginary], [imaginary, real]]) - 2 * column @ row


def _diagonal(values: np.ndarray) -> np.ndarray:
    return values[..., None] * np.eye(values.shape[-1])


def _change(rows: np.ndarray, da: np.ndarray, old: int | None, new: int | None) -> np.ndarray:
    """`rows (I - dA^old)^-1 (I - dA^new)` for rows (H, D, N)."""
    identity = np.eye(da.shape[-1])
    powers = _powers(da, [length for length in (old, new) if length is not None])
    if old is not None:
        rows = np.linalg.solve((identity - powers[old]).swapaxes(-1, -2), rows.swapaxes(-1, -2)).swapaxes(-1, -2)
    return rows if new is None else rows @ (identity - powers[new])


def _powers(da: np.ndarray, exponents: list[int]) -> dict[int, np.ndarray]:
    """`dA^n` for each exponent n, the longer ones from the shorter."""
    found, last = {}, 0
    for exponent in sorted(set(exponents)):
        if last:
            found[exponent] = np.linalg.matrix_power(found[last], exponent // last)
            found[exponent] = found[exponent] @ np.linalg.matrix_power(da, exponent % last)
        else:
            found[exponent] = np.linalg.matrix_power(da, exponent)
        last = exponent
    return found
