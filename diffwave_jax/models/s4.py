"""The S4 layer: a long two-sided convolution whose kernels come from a state space (arXiv 2111.00396, 2202.09729)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Complex64, Float, Float32

from diffwave_jax.kernels import dplr_kernel
from diffwave_jax.kernels.backends import Implementation
from diffwave_jax.models import hippo, weights
from diffwave_jax.models.dense import Linear
from diffwave_jax.models.initial import random_on_host
from diffwave_jax.models.layers import gelu

DT_MIN, DT_MAX = 1e-3, 1e-1  # range of the initial step sizes, log-uniform

# The spectra of a network's S4 layers, an array for each stage, () for a stage without any.
Filters = tuple[Complex64[Array, "_layers _channels _samples"] | tuple[()], ...]


class S4Kernel(nnx.Module):
    """Two convolution kernels per channel, forward and backward, from DPLR state-space parameters.

    Args:
      d_model: channels H.
      d_state: states N per channel, even; one of each conjugate pair is stored.
      l_max: length at which the kernels' generating function is truncated; kernels may be cut shorter, never longer.
      tie_state: one state matrix and input vector for all channels instead of one each.
      implementation: which `kernels.dplr_kernel` to use; None for the platform's best.
      rngs: source of the initial values.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int,
        l_max: int,
        *,
        tie_state: bool = False,
        implementation: Implementation | None = None,
        rngs: nnx.Rngs,
    ):
        self.l_max = l_max
        self.implementation: Implementation | None = implementation
        state = hippo.legs(d_state)
        copies = 1 if tie_state else d_model
        log_dt = random_on_host(
            rngs.params(), (d_model,), lambda random: random.uniform(np.log(DT_MIN), np.log(DT_MAX), d_model)
        )
        self.log_dt = nnx.Param(log_dt)
        self.log_w_real = nnx.Param(_repeat(np.log(-np.real(state.w)), copies))
        self.w_imag = nnx.Param(_repeat(np.imag(state.w), copies))
        self.B = nnx.Param(_repeat(_pairs(state.B), copies))
        self.P = nnx.Param(_repeat(_pairs(state.P), copies))
        shape = (2, d_model, d_state // 2, 2)
        draw = functools.partial(_initial_C, n_pairs=d_state // 2, l_max=l_max)
        self.C = nnx.Param(random_on_host(rngs.params(), shape, draw, log_dt))

    def __call__(self, length: int) -> Float32[Array, "2 channels {length}"]:
        """Kernels (2, H, length) float32: [0] weighs the present and past, [1] the future from the next sample on."""
        kernels = dplr_kernel(
            dt=jnp.exp(self.log_dt[...]),
            w=jax.lax.complex(-jnp.exp(self.log_w_real[...]), self.w_imag[...]),
            b=_complex(self.B[...]),
            p=_complex(self.P[...]),
            c=_complex(self.C[...]),
            length=self.l_max,
            implementation=self.implementation,
        )
        return kernels[..., :length]


class S4(nnx.Module):
    """Two-sided S4 convolution, GELU, and a gated linear layer (SaShiMi, section 4.1).

    Args:
      d_model: channels H.
      glu: gate the output linear layer; without it the layer is plain H -> H.
      dtype: what the output layer computes in; kernels and FFTs are always float32.
      rngs: source of the initial values.
      **kernel: `d_state`, `l_max`, `tie_state` and `implementation` of `S4Kernel`.
    """

    def __init__(self, d_model: int, *, glu: bool = True, dtype=jnp.float32, rngs: nnx.Rngs, **kernel):
        self.kernel = S4Kernel(d_model, rngs=rngs, **kernel)
        self.D = nnx.Param(random_on_host(rngs.params(), (d_model,), lambda random: random.standard_normal(d_model)))
        self.output = Linear(d_model, 2 * d_model if glu else d_model, dtype=dtype, rngs=rngs)
        self.glu = glu

    def filter(self, length: int) -> Complex64[Array, "channels {length}"]:
        """Spectrum (H, length) complex64 of the whole filter, to be computed once and used on many inputs.

        Both kernels and the skip term D lie in one filter, see `filter_spectrum`.
        """
        forward, backward = self.kernel(length)
        return filter_spectrum(forward.at[:, 0].add(self.D[...]), backward)

    def __call__(
        self, u: Float[Array, "batch samples channels"], filter: Complex64[Array, "channels samples"]
    ) -> Float[Array, "batch samples channels"]:
        """(B, L, H) to (B, L, H), with `filter` (H, L) from `self.filter(L)`."""
        y = self.output(gelu(convolve(u, filter).astype(self.output.dtype)))
        return nnx.glu(y) if self.glu else y


def stacked_filters(layers: list[S4], length: int) -> Complex64[Array, "layers channels {length}"] | tuple[()]:
    """`filter(length)` of layers that are alike, computed one after another: (layers, H, length); () for no layers.

    XLA would otherwise work on many at a time, in twice the memory, and compile the same computation for each.
    """
    if not layers:
        return ()
    graph = weights.split(layers[0])[0]
    stacked = jax.tree.map(lambda *values: jnp.stack(values), *(weights.split(layer)[1] for layer in layers))
    return jax.lax.map(lambda values: weights.merge(graph, values).filter(length), stacked)


def filter_spectrum(
    forward: Float[Array, "channels samples"], backward: Float[Array, "channels samples"]
) -> Complex64[Array, "channels samples"]:
    """Spectrum (H, L) complex64 for `convolve` of filters with taps `forward` (H, L) at 0, 1, ... and `backward` (H, L)
    at -1, -2, ...

    Neither inputs nor results reach beyond L samples, so filters may be taken modulo z^2L + 1: a tap at -j returns at
    2L - j with its sign changed. For real signals that ring is the complex numbers modulo z^L - i, and substituting
    exp(i pi / 2L) x for z makes it circular: a complex FFT of length L does the work of a padded one of length 2L
    ("right-angle convolution", Crandall & Fagin 1994, "Discrete weighted
    transforms and large-integer arithmetic").
    """
    return jnp.fft.fft(jax.lax.complex(forward, -backward[:, ::-1]) * _twist(forward.shape[-1]))


def convolve(
    u: Float[Array, "batch samples channels"], spectrum: Complex64[Array, "channels samples"]
) -> Float32[Array, "batch samples channels"]:
    """Channel-wise convolution of `u` (B, L, H) with filters of `spectrum` (H, L), see `filter_spectrum`."""
    twist = _twist(u.shape[1])
    u_hat = jnp.fft.fft(jnp.swapaxes(u.astype(jnp.float32), 1, 2) * twist)
    y = jnp.fft.ifft(u_hat * spectrum)
    return jnp.swapaxes(jnp.real(y * twist.conj()), 1, 2)


def _twist(length: int) -> np.ndarray:
    """exp(i pi n / 2L) for n in 0..L-1, complex64."""
    return np.exp(0.5j * np.pi * np.arange(length) / length).astype(np.complex64)


def _initial_C(random: np.random.Generator, log_dt: np.ndarray, n_pairs: int, l_max: int) -> np.ndarray:
    """Length-corrected complex normal C (2, H, M, 2)."""
    re, im = random.standard_normal((2, 2, len(log_dt), n_pairs)) * np.sqrt(0.5)
    return _pairs(hippo.length_corrected(re + 1j * im, log_dt, l_max))


def _repeat(values: np.ndarray, copies: int) -> jax.Array:
    return jnp.asarray(np.repeat(values[None], copies, axis=0), jnp.float32)


def _pairs(z: np.ndarray) -> np.ndarray:
    return np.stack([np.real(z), np.imag(z)], axis=-1)


def _complex(pairs: jax.Array) -> jax.Array:
    return jax.lax.complex(pairs[..., 0], pairs[..., 1])
