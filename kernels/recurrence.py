"""A DPLR state space as a recurrence, one sample at a time: the same map as its convolution kernel, in float32.

The bilinear transform of `A = diag(w) - P Q^T` is again diagonal plus rank one, `A_bar x = x + a x - e <f, x>` with
`<f, x> = 2 Re sum f x` over one state of each conjugate pair (Woodbury). The states are stored divided by e, which is
then 1. Three things keep float32 accurate over any number of steps: the constants are made in float64; `a`, a small
number, is added to a state's own value, for `1 + a` would lose its digits; and no matrix is diagonalised, for
HiPPO-LegS's is as far from normal as a matrix can be.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from diffwave_jax.kernels.truncation import with_length

SMALLEST_E = 1e-12  # of the largest: states are divided by e, and one that the rank-one term leaves alone has e = 0


class Halves(NamedTuple):
    """Complex numbers as two float32 arrays: XLA on CPU has no vector instructions for complex ones."""

    real: jax.Array | np.ndarray
    imaginary: jax.Array | np.ndarray


class Recurrence(NamedTuple):
    """The constants of one layer's recurrence, float32; `step` says what they do.

    Attributes:
      a: (M, H) what a state grows by in a step, less 1.
      b: (M, H) what the input adds.
      f: (M, H) with which the rank-one term weighs the states.
      g: (M, H) with which the output weighs the states before the step.
      skip: (H,) the input's share of the output.
      feedback: (H,) the rank-one term's.
    """

    a: Halves
    b: Halves
    f: Halves
    g: Halves
    skip: np.ndarray
    feedback: np.ndarray


def recurrence(dt, w, b, p, c, d, length: int | None, *, q=None) -> Recurrence:
    """The constants of a causal layer, computed in float64 on the host.

    Args:
      dt: step sizes (H,).
      w: eigenvalues (H, M) or, tied, (1, M), complex.
      b: input vectors, (H, M) or (1, M), complex.
      p: low-rank vectors, (H, M) or (1, M), complex.
      c: output vectors (H, M), complex, stored multiplied by `(I - dA^length)^T`.
      d: the input's direct share of the output (H,).
      length: the kernel length that `c` is corrected for; None if it is the true one.
      q: the other low-rank vectors, as `p`; None for `conj(p)`.
    """
    w, b, p, c = (np.asarray(x, np.complex128) for x in (w, b, p, c))
    q = np.conj(p) if q is None else np.asarray(q, np.complex128)
    c = with_length(dt, w, p, c[None], length, None, q=q)[0]
    dt = np.asarray(dt, np.float64)[:, None]
    resolvent = 1 / (1 - dt / 2 * w)
    e = resolvent * p
    coupling = _inner(q, e)
    kappa = 1 / (1 + dt / 2 * coupling)
    a = dt * resolvent * w
    f = dt * ((1 - dt / 2 * kappa * coupling) * q + dt / 2 * kappa * q * resolvent * w)
    b = dt * resolvent * b - dt**2 / 2 * kappa * _inner(q, resolvent * b) * e
    smallest = SMALLEST_E * np.max(np.abs(e), axis=-1, keepdims=True)
    unit = np.where(np.abs(e) > smallest, e, np.where(smallest > 0, smallest, 1))
    return Recurrence(
        a=_halves(a),
        b=_halves(b / unit),
        f=_halves(2 * f * unit),
        g=_halves(2 * c * (1 + a) * unit),
        skip=(np.asarray(d) + _inner(c, b)[:, 0]).astype(np.float32),
        feedback=_inner(c, e)[:, 0].astype(np.float32),
    )


def initial_state(constants: Recurrence, batch: int) -> Halves:
    """The state (M, B, H) before the first sample: zeros."""
    states, heads = constants.a.real.shape
    return Halves(*(jnp.zeros((states, batch, heads), jnp.float32) for _ in Halves._fields))


def step(constants: Recurrence, state: Halves, u: jax.Array) -> tuple[Halves, jax.Array]:
    """One sample of every channel: the state after it, and the outputs (B, H) float32 of the inputs `u` (B, H).

    Both sums run over the state before the step, so that the states are read once and written once.
    """
    u = u.astype(jnp.float32)
    a, b, f, g = (Halves(x.real[:, None], x.imaginary[:, None]) for x in constants[:4])
    x = state
    rank_one = jnp.sum(f.real * x.real - f.imaginary * x.imaginary, axis=0)
    y = jnp.sum(g.real * x.real - g.imaginary * x.imaginary, axis=0)
    y += constants.skip * u - constants.feedback * rank_one
    real = x.real + (a.real * x.real - a.imaginary * x.imaginary + b.real * u - rank_one)
    imaginary = x.imaginary + (a.real * x.imaginary + a.imaginary * x.real + b.imaginary * u)
    return Halves(real, imaginary), y


def _inner(u: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`2 Re sum u x` over the stored states (H, 1)."""
    return 2 * np.sum(np.real(u * x), axis=-1, keepdims=True)


def _halves(values: np.ndarray) -> Halves:
    """(H, M) to two float32 arrays (M, H): channels last, as the layers' inputs."""
    return Halves(*(np.ascontiguousarray(part.T.astype(np.float32)) for part in (np.real(values), np.imag(values))))
