"""The bare Cauchy sum over conjugate pairs, for S4 layers other than ours; the same backends as the DPLR kernel."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Complex, Inexact

from diffwave_jax.kernels import reference
from diffwave_jax.kernels.backends import Implementation, backend, choose
from diffwave_jax.kernels.derivatives import first_derivative, reverse_mode


def cauchy(
    v: Inexact[ArrayLike, "*#heads states"],
    z: Inexact[ArrayLike, " nodes"],
    w: Inexact[ArrayLike, "*#heads states"],
    *,
    implementation: Implementation | None = None,
) -> Complex[Array, "*#heads nodes"]:
    """`sum_n v_n / (z_l - w_n) + conj(v_n) / (z_l - conj(w_n))`.

    Args:
      v: numerators (..., M), complex.
      z: nodes (L,), complex; none of them equal to a pole.
      w: poles (..., M), complex, one of each conjugate pair; broadcasts against v.
      implementation: as in `kernels.dplr_spectrum`.

    Returns:
      (..., L) complex; differentiable in v, z and w, once and in reverse mode. "reference" has all derivatives.

    Raises:
      ValueError: the shapes do not fit together, there are no nodes, states or sums, or there is no such
        implementation.
      RuntimeError: this process was forked from one that had used JAX, so that XLA would hang.
    """
    implementation = choose(implementation, gradient=False)  # on a CPU XLA has the gradient too
    v, z, w = (jnp.asarray(x) for x in (v, z, w))
    if z.ndim != 1:
        raise ValueError(f"z must have shape (nodes,), found {z.shape}")
    if v.ndim < 1 or w.ndim < 1 or v.shape[-1] != w.shape[-1]:
        raise ValueError(f"v and w must have the same number of states, found shapes {v.shape} and {w.shape}")
    shape = jnp.broadcast_shapes(v.shape, w.shape)
    if not (z.size and math.prod(shape)):
        raise ValueError(f"there must be at least one node and one state, found shapes {z.shape} and {shape}")
    if implementation == "reference":
        return reference.cauchy(v, z, w)
    v, w = (jnp.broadcast_to(x.astype(jnp.complex64), shape).reshape(-1, shape[-1]) for x in (v, w))
    z = z.astype(jnp.complex64)
    rows = jnp.stack([-2 * jnp.real(v * jnp.conj(w)), 2 * jnp.real(v), jnp.real(w), jnp.imag(w)], axis=1)
    with reverse_mode():
        real, imaginary = _sums(rows, jnp.real(z), jnp.imag(z), implementation)
    return lax.complex(real, imaginary).reshape(*shape[:-1], z.size)


def _plain_sums(
    rows: jax.Array, z_real: jax.Array, z_imaginary: jax.Array, implementation: Implementation
) -> tuple[jax.Array, jax.Array]:
    """Real and imaginary part (H, L) from rows (H, 4, M): those of `kernels.cauchy_math.Poles`."""
    return backend(implementation).cauchy_sums(rows, z_real, z_imaginary)


_sums = jax.custom_vjp(_plain_sums, nondiff_argnums=(3,))


def _forward(rows, z_real, z_imaginary, implementation):
    return _sums(rows, z_real, z_imaginary, implementation), (rows, z_real, z_imaginary)


def _backward(implementation, inputs, gradients):
    return first_derivative(backend(implementation).cauchy_gradient)(*inputs, *gradients)


_sums.defvjp(_forward, _backward)
