"""The plain references: the formulas as they stand, in the precision of its inputs. They define the meaning."""

import jax
import jax.numpy as jnp
import numpy as np


def dplr_spectrum(dt, w, b, p, c, q, length: int) -> jax.Array:
    """`2 / (1 + omega) * (r_BC - r_BQ r_PC / (1 + r_PQ))`; arguments as in `kernels.dplr_spectrum`.

    Give it float64 for the truth: it keeps every (direction, head, node, state) at once and is slow.
    """
    dtype = jnp.result_type(dt, w, b, p, c, jnp.complex64)
    omega = jnp.asarray(np.exp(-2j * np.pi * np.arange(length // 2 + 1) / length), dtype)
    dt = dt[:, None]

    def r(u, v):
        """`dt sum_n [u v / (z - dt w) + conj] / (1 + omega)`, z = 2 (1 - omega) / (1 + omega): finite at z = inf."""
        z, scale = 2 * (1 - omega)[:, None], (1 + omega)[:, None]
        term, conjugate = (
            x[..., None, :] / (z - scale * (dt * y)[..., None, :])
            for x, y in ((u * v, w), (jnp.conj(u * v), jnp.conj(w)))
        )
        return dt * (term + conjugate).sum(-1)

    correction = (1 + omega) * r(b, q) * r(p, c) / (1 + (1 + omega) * r(p, q))
    return 2 * (r(b, c) - correction)


def cauchy(v, z, w) -> jax.Array:
    """Arguments as in `kernels.cauchy`."""
    terms = v[..., None, :] / (z[:, None] - w[..., None, :])
    conjugates = jnp.conj(v)[..., None, :] / (z[:, None] - jnp.conj(w)[..., None, :])
    return (terms + conjugates).sum(-1)
