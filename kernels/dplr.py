"""The public calls: DPLR parameters to convolution spectra and kernels, by any implementation.

The structured state matrix is `A = diag(w) - P Q^T` over conjugate pairs (Gu et al. 2021, "Efficiently Modeling
Long Sequences with Structured State Spaces", appendix C.3), by default with `Q = conj(P)`, which keeps A stable (Goel
et al. 2022, "It's Raw!", section 4.2); only one state of each pair is given.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from diffwave_jax.kernels import fourier, reference
from diffwave_jax.kernels.backends import PALLAS, Implementation, backend, choose
from diffwave_jax.kernels.coefficients import Coefficients, coefficients
from diffwave_jax.kernels.derivatives import first_derivative, reverse_mode
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes
from diffwave_jax.kernels.target import Target, compile_for, target


def dplr_spectrum(
    dt: Float[ArrayLike, " heads"],
    w: Complex[ArrayLike, "#heads states"],
    b: Complex[ArrayLike, "#heads states"],
    p: Complex[ArrayLike, "#heads states"],
    c: Complex[ArrayLike, "directions heads states"],
    length: int,
    *,
    q: Complex[ArrayLike, "#heads states"] | None = None,
    implementation: Implementation | None = None,
    block_sizes: BlockSizes | None = None,
) -> Complex[Array, "directions heads {length//2+1}"]:
    """Spectrum of the truncated convolution kernels at the nodes `exp(-2 pi i l / length)`, l = 0..length // 2.

    Args:
      dt: step sizes (H,), positive.
      w: eigenvalues (H, M) or, tied, (1, M); complex, one of each conjugate pair, real part negative.
      b: input vectors, (H, M) or (1, M), complex.
      p: low-rank vectors, (H, M) or (1, M), complex.
      c: output vectors (D, H, M), complex, D = 1 or 2 directions, stored multiplied by `(I - dA^length)^T`.
      length: length of the kernels whose spectrum this is, at least 1; odd or even.
      q: the other low-rank vectors, (H, M) or (1, M), complex; None for `conj(p)`.
      implementation: None for the platform's best, or a name of `kernels.backends.IMPLEMENTATIONS`. All compute in
        float32 but "reference", which computes in the precision it is given. The best may be another one where a
        gradient is taken, as on a CPU.
      block_sizes: how a Pallas implementation divides its work; None for the table in `kernels.gpu.block_sizes`.

    Returns:
      (D, H, length // 2 + 1) complex; differentiable in every array, once and in reverse mode. "reference" has all
      derivatives.

    Raises:
      ValueError: the shapes do not fit together, there are no heads or states, there is no such implementation, or it
        has no block sizes.
      RuntimeError: this process was forked from one that had used JAX, so that XLA would hang.
    """
    chosen = choose(implementation, gradient=False)
    arrays = tuple(jnp.asarray(x) for x in (dt, w, b, p, c, jnp.conj(p) if q is None else q))
    _check_shapes(*arrays, length=length)
    if block_sizes is not None and chosen not in PALLAS:
        raise ValueError(f"block_sizes are for {' and '.join(PALLAS)}, found implementation {chosen!r}")
    if chosen == "reference":
        return reference.dplr_spectrum(*arrays, length=length)
    with reverse_mode():
        return _spectrum(coefficients(*arrays), _Call(implementation, target(), length, block_sizes))


def dplr_kernel(
    dt: Float[ArrayLike, " heads"],
    w: Complex[ArrayLike, "#heads states"],
    b: Complex[ArrayLike, "#heads states"],
    p: Complex[ArrayLike, "#heads states"],
    c: Complex[ArrayLike, "directions heads states"],
    length: int,
    *,
    q: Complex[ArrayLike, "#heads states"] | None = None,
    implementation: Implementation | None = None,
    block_sizes: BlockSizes | None = None,
) -> Float[Array, "directions heads {length}"]:
    """Convolution kernels of state space models: the inverse real FFT of `dplr_spectrum`.

    Args:
      dt: (H,) step sizes.
      w: (H, M) or, tied, (1, M) complex eigenvalues, one of each conjugate pair, M = N / 2.
      b: input vectors, shaped as `w`.
      p: low-rank vectors, shaped as `w`.
      c: (D, H, M) complex output vectors of D directions, corrected for the length.
      length: samples of the kernels, at least 1.
      q: the other low-rank vectors, shaped as `w`; None for `conj(p)`.
      implementation: a name in `diffwave_jax.kernels.backends.IMPLEMENTATIONS`; None for the best of the device.
      block_sizes: of the Pallas implementations; None for their own choice.

    Returns:
      (D, H, length) float32.

    Raises:
      ValueError: shapes that do not fit, or an implementation that this device does not have; see `dplr_spectrum`.
    """
    spectrum = dplr_spectrum(dt, w, b, p, c, length, q=q, implementation=implementation, block_sizes=block_sizes)
    return fourier.irfft(spectrum, length)


class _Call(NamedTuple):
    implementation: Implementation | None
    target: Target
    length: int
    sizes: BlockSizes | None

    def chosen(self, *, gradient: bool) -> Implementation:
        with compile_for(self.target):
            return choose(self.implementation, gradient=gradient)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _spectrum(rows: Coefficients, call: _Call) -> jax.Array:
    return backend(call.chosen(gradient=False)).spectrum(rows, call.length, call.sizes)


def _forward(rows, call):
    return backend(call.chosen(gradient=True)).spectrum(rows, call.length, call.sizes), rows


def _backward(call, rows, cotangent):
    best = backend(call.chosen(gradient=True))
    gradient = first_derivative(lambda rows, gradient: best.spectrum_gradient(rows, call.length, gradient, call.sizes))
    # JAX's cotangent of a complex number is the conjugate of (dL / d real) + i (dL / d imaginary).
    return (gradient(rows, jnp.conj(cotangent)),)


_spectrum.defvjp(_forward, _backward)


def _check_shapes(dt, w, b, p, c, q, length: int) -> None:
    if length < 1:
        raise ValueError(f"length must be at least 1, found {length}")
    if dt.ndim != 1:
        raise ValueError(f"dt must have shape (heads,), found {dt.shape}")
    heads = dt.shape[0]
    if c.ndim != 3 or c.shape[0] not in (1, 2) or c.shape[1] != heads:
        raise ValueError(f"c must have shape (1 or 2, {heads}, states), found {c.shape}")
    states = c.shape[2]
    if not (heads and states):
        raise ValueError(f"there must be at least one head and one state, found {heads} and {states}")
    for name, array in {"w": w, "b": b, "p": p, "q": q}.items():
        if array.shape not in ((heads, states), (1, states)):
            raise ValueError(f"{name} must have shape ({heads}, {states}) or (1, {states}), found {array.shape}")
