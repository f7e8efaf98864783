"""The state space that an S4 kernel's weights stand for."""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

Array = jax.Array | np.ndarray


class StateSpace(NamedTuple):
    """A DPLR state space, `A = diag(w) - P Q^T`, one of each conjugate pair of M states; S = H, or 1 if tied.

    Attributes:
      dt: (H,) step sizes.
      w: (S, M) complex eigenvalues.
      b: (S, M) complex input vectors.
      p: (S, M) complex low-rank vectors.
      c: (D, H, M) complex output vectors, corrected for the kernel's length.
      q: (S, M) complex, the other low-rank vectors; None for `conj(p)`.
    """

    dt: Array
    w: Array
    b: Array
    p: Array
    c: Array
    q: Array | None


def state_space(weights: Mapping[str, Array]) -> StateSpace:
    """From the weights of one `diffwave_jax.models.s4.S4Kernel`, in JAX; in float64 where they are NumPy's.

    A kernel holds either `log_w_real` and `w_imag`, whose eigenvalues are stable and whose Q is `conj(P)`, or `w` and
    `Q`, both free.
    """
    traced = isinstance(weights["log_dt"], jax.Array)
    xp = jax.numpy if traced else np
    weights = weights if traced else {name: np.asarray(value, np.float64) for name, value in weights.items()}
    free = "Q" in weights
    return StateSpace(
        dt=xp.exp(weights["log_dt"]),
        w=_complex(weights["w"]) if free else _join(-xp.exp(weights["log_w_real"]), weights["w_imag"]),
        b=_complex(weights["B"]),
        p=_complex(weights["P"]),
        c=_complex(weights["C"]),
        q=_complex(weights["Q"]) if free else None,
    )


def pairs(z: np.ndarray) -> np.ndarray:
    """Complex numbers (...) as they are stored, (..., 2)."""
    return np.stack([np.real(z), np.imag(z)], axis=-1)


def _complex(pairs: Array) -> Array:
    return _join(pairs[..., 0], pairs[..., 1])


def _join(real: Array, imaginary: Array) -> Array:
    return jax.lax.complex(real, imaginary) if isinstance(real, jax.Array) else real + 1j * imaginary
