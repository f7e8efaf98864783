"""The S4 layer: a long convolution whose kernels come from a state space (arXiv 2111.00396, 2202.09729).

In both directions, or causal; a causal one is also a recurrence, the same map one sample at a time.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Complex64, Float, Float32

from diffwave_jax.kernels import dplr_kernel, fourier
from diffwave_jax.kernels.backends import Implementation
from diffwave_jax.kernels.recurrence import Halves, Recurrence, recurrence
from diffwave_jax.kernels.recurrence import step as recurrence_step
from diffwave_jax.kernels.truncation import with_length
from diffwave_jax.models import hippo, weights
from diffwave_jax.models.compiling import materialized
from diffwave_jax.models.dense import Linear
from diffwave_jax.models.initial import random_on_host
from diffwave_jax.models.layers import gelu
from diffwave_jax.models.state_space import StateSpace, pairs, state_space

DT_MIN, DT_MAX = 1e-3, 1e-1  # range of the initial step sizes, log-uniform

# The spectra of a network's S4 layers, an array for each stage, () for a stage without any.
Filters = tuple[Complex64[Array, "_layers _channels _samples"] | tuple[()], ...]


class S4Kernel(nnx.Module):
    """Convolution kernels of each channel, from DPLR state-space parameters: forward and, with two, backward.

    Args:
      d_model: channels H.
      d_state: states N per channel, even; one of each conjugate pair is stored.
      l_max: length at which the kernels' generating function is truncated; kernels may be cut shorter, and are zero
        beyond it.
      tie_state: one state matrix and input vector for all channels instead of one each.
      directions: 1 for causal kernels, 2 for both directions.
      free_q: eigenvalues and the second low-rank vector are weights of their own, which nothing keeps stable, as in
        the first published SaShiMi models.
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
        directions: int = 2,
        free_q: bool = False,
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
        if free_q:
            self.w = nnx.Param(_repeat(pairs(state.w), copies))
            self.Q = nnx.Param(_repeat(pairs(state.P.conj()), copies))
        else:
            self.log_w_real = nnx.Param(_repeat(np.log(-np.real(state.w)), copies))
            self.w_imag = nnx.Param(_repeat(np.imag(state.w), copies))
        self.B = nnx.Param(_repeat(pairs(state.B), copies))
        self.P = nnx.Param(_repeat(pairs(state.P), copies))
        shape = (directions, d_model, d_state // 2, 2)
        draw = functools.partial(_initial_C, shape=shape[:-1], l_max=l_max)
        self.C = nnx.Param(random_on_host(rngs.params(), shape, draw, log_dt))

    def __call__(self, length: int) -> Float32[Array, "directions channels {length}"]:
        """Kernels (directions, H, length) float32.

        [0] weighs the present and past; [1], if there is one, the future from the next sample on.
        """
        ssm = state_space(weights.split(self)[1])
        kernels = dplr_kernel(
            ssm.dt, ssm.w, ssm.b, ssm.p, ssm.c, self.l_max, q=ssm.q, implementation=self.implementation
        )
        return jnp.pad(kernels[..., :length], ((0, 0), (0, 0), (0, max(0, length - self.l_max))))

    def on_host(self) -> StateSpace:
        """Its state space in float64."""
        return state_space({name: np.asarray(value) for name, value in weights.split(self)[1].items()})

    def lengthen(self, l_max: int) -> None:
        """Another `l_max`, longer or shorter, for the same kernels up to the shorter length: C is corrected anew."""
        ssm = self.on_host()
        changed = with_length(ssm.dt, ssm.w, ssm.p, ssm.c, self.l_max, l_max, q=ssm.q)
        self.C = nnx.Param(jnp.asarray(pairs(changed), jnp.float32))
        self.l_max = l_max


class S4(nnx.Module):
    """S4 convolution, GELU, and a gated linear layer (SaShiMi, section 4.1).

    Args:
      d_model: channels H.
      glu: gate the output linear layer; without it the layer is plain H -> H.
      dtype: what the output layer computes in; kernels and FFTs are always float32.
      rngs: source of the initial values.
      **kernel: `d_state`, `l_max`, `tie_state`, `directions`, `free_q` and `implementation` of `S4Kernel`.
    """

    def __init__(self, d_model: int, *, glu: bool = True, dtype=jnp.float32, rngs: nnx.Rngs, **kernel):
        self.kernel = S4Kernel(d_model, rngs=rngs, **kernel)
        self.D = nnx.Param(random_on_host(rngs.params(), (d_model,), lambda random: random.standard_normal(d_model)))
        self.output = Linear(d_model, 2 * d_model if glu else d_model, dtype=dtype, rngs=rngs)
        self.glu = glu

    def filter(self, length: int) -> Complex64[Array, "channels {length}"]:
        """Spectrum (H, length) complex64 of the whole filter, to be computed once and used on many inputs.

        The kernels and the skip term D lie in one filter, see `filter_spectrum`.
        """
        return _filter(self.kernel, self.D[...], length)

    def __call__(
        self, u: Float[Array, "batch samples channels"], filter: Complex64[Array, "channels samples"]
    ) -> Float[Array, "batch samples channels"]:
        """(B, L, H) to (B, L, H), with `filter` (H, L) from `self.filter(L)`."""
        return self._mix(convolve(u, filter))

    def recurrence(self) -> Recurrence:
        """The constants of `step`, made in float64 on the host: once for a model, not inside a compiled function."""
        ssm = self.kernel.on_host()
        return recurrence(ssm.dt, ssm.w, ssm.b, ssm.p, ssm.c[0], np.asarray(self.D[...]), self.kernel.l_max, q=ssm.q)

    def step(
        self, u: Float[Array, "batch channels"], state: Halves, constants: Recurrence
    ) -> tuple[Float[Array, "batch channels"], Halves]:
        """One sample of a causal layer: (B, H) to (B, H) and the state after it, see `kernels.recurrence`."""
        state, y = recurrence_step(constants, state, u)
        return self._mix(y), state

    def _mix(self, y: Float[Array, "*rows channels"]) -> Float[Array, "*rows channels"]:
        y = self.output(gelu(y.astype(self.output.dtype)))
        return nnx.glu(y) if self.glu else y


def stacked_filters(layers: list[S4], length: int) -> Complex64[Array, "layers channels {length}"] | tuple[()]:
    """`filter(length)` of layers that are alike, computed one after another: (layers, H, length); () for no layers.

    XLA would otherwise work on many at a time, in twice the memory, and compile the same computation for each. Each
    layer's weights are one row and nothing else is kept for the gradient: for every array that goes into a loop or out
    of it XLA compiles code for each turn.
    """
    if not layers:
        return ()
    graph = weights.split(layers[0].kernel)[0]
    inputs = [(weights.split(layer.kernel)[1], layer.D[...]) for layer in layers]
    rows, (unravel, *_) = zip(*map(ravel_pytree, inputs), strict=True)

    @functools.partial(jax.checkpoint, prevent_cse=False)  # a loop shares nothing with what is around it
    def one(row):
        values, skip = unravel(materialized(row))
        return _filter(weights.merge(graph, values), skip, length)

    return jax.lax.map(one, jnp.stack([materialized(row) for row in rows]))


def _filter(kernel: S4Kernel, skip: jax.Array, length: int) -> jax.Array:
    forward, *backward = kernel(length)
    return filter_spectrum(forward.at[:, 0].add(skip), *backward)


def filter_spectrum(
    forward: Float[Array, "channels samples"], backward: Float[Array, "channels samples"] | None = None
) -> Complex64[Array, "channels samples"]:
    """Spectrum (H, L) complex64 for `convolve` of filters with taps `forward` (H, L) at 0, 1, ... and `backward` (H, L)
    at -1, -2, ..., if there are any.

    Neither inputs nor results reach beyond L samples, so filters may be taken modulo z^2L + 1: a tap at -j returns at
    2L - j with its sign changed. For real signals that ring is the complex numbers modulo z^L - i, and substituting
    exp(i pi / 2L) x for z makes it circular: a complex FFT of length L does the work of a padded one of length 2L
    ("right-angle convolution", Crandall & Fagin 1994, "Discrete weighted
    transforms and large-integer arithmetic").
    """
    wrapped = jnp.zeros_like(forward) if backward is None else -backward[:, ::-1]
    return fourier.fft(jax.lax.complex(forward, wrapped) * _twist(forward.shape[-1]))


def shortened(
    spectrum: Complex64[Array, "*layers channels samples"], reach: float
) -> Complex64[Array, "*layers channels samples"]:
    """Filters that hear about `reach` samples to both sides: a tap at a distance d keeps exp(-(d / reach)^2) of itself.

    Args:
      spectrum: (..., H, L) complex64, of filters as `filter_spectrum` gives them.
      reach: samples, above 0.
    """
    length = spectrum.shape[-1]
    taps = fourier.ifft(spectrum) * _twist(length).conj()
    ahead, behind = (np.exp(-np.square(d / reach)) for d in (np.arange(length), length - np.arange(length)))
    faded = jax.lax.complex(jnp.real(taps) * ahead.astype(np.float32), jnp.imag(taps) * behind.astype(np.float32))
    return fourier.fft(faded * _twist(length))


def convolve(
    u: Float[Array, "batch samples channels"], spectrum: Complex64[Array, "channels samples"]
) -> Float32[Array, "batch samples channels"]:
    """Channel-wise convolution of `u` (B, L, H) with filters of `spectrum` (H, L), see `filter_spectrum`."""
    twist = _twist(u.shape[1])
    u_hat = fourier.fft(jnp.swapaxes(u.astype(jnp.float32), 1, 2) * twist)
    y = fourier.ifft(u_hat * spectrum)
    return jnp.swapaxes(jnp.real(y * twist.conj()), 1, 2)


def _twist(length: int) -> np.ndarray:
    """exp(i pi n / 2L) for n in 0..L-1, complex64."""
    return np.exp(0.5j * np.pi * np.arange(length) / length).astype(np.complex64)


def _initial_C(random: np.random.Generator, log_dt: np.ndarray, shape: tuple[int, ...], l_max: int) -> np.ndarray:
    """Length-corrected complex normal C (*shape, 2)."""
    re, im = random.standard_normal((2, *shape)) * np.sqrt(0.5)
    return pairs(hippo.length_corrected(re + 1j * im, log_dt, l_max))


def _repeat(values: np.ndarray, copies: int) -> jax.Array:
    return jnp.asarray(np.repeat(values[None], copies, axis=0), jnp.float32)
