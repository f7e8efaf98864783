"""Linear layers and normalisation; gradients on CPU are written for its compiler."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from diffwave_jax.kernels.target import target
from diffwave_jax.models.initial import uniform_fan_in

DTYPES = ("float32", "bfloat16")


def check_dtype(dtype: str) -> None:
    """ValueError unless it names what dense layers compute in."""
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")


def matmul(x: Float[Array, "*rows inputs"], kernel: Float[Array, "inputs outputs"]) -> Float[Array, "*rows outputs"]:
    """`x @ kernel` for x (..., in) and kernel (in, out)."""
    return _cpu_matmul(x, kernel) if target().platform == "cpu" else x @ kernel


@jax.custom_vjp
def _cpu_matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x @ kernel` with a gradient written for XLA on CPU.

    Left to itself XLA transposes all rows of the cotangent in memory, and evaluates anew what it is made of in that
    order, before it multiplies; a product per clip and one small sum take a third of the time. That product is up to a
    third faster with the longer feature axis last.
    """
    return x @ kernel


def _matmul_forward(x, kernel):
    return _cpu_matmul(x, kernel), (x, kernel)


def _matmul_backward(saved, dy):
    x, kernel = saved
    if kernel.shape[0] <= kernel.shape[1]:
        gradient = jnp.sum(jnp.einsum("b...i,b...o->bio", x, dy), axis=0)
    else:
        gradient = jnp.sum(jnp.einsum("b...i,b...o->boi", x, dy), axis=0).T
    return dy @ kernel.T, gradient


_cpu_matmul.defvjp(_matmul_forward, _matmul_backward)


def add_bias(x: Float[Array, "*rows features"], bias: Float[Array, " features"]) -> Float[Array, "*rows features"]:
    """`x + bias` for x (..., H) and bias (H,)."""
    return _cpu_add_bias(x, bias) if target().platform == "cpu" else x + bias


@jax.custom_vjp
def _cpu_add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """`x + bias` whose gradient is summed in float32: XLA on CPU adds bfloat16 in bfloat16, which stops growing."""
    return x + bias


def _add_bias_backward(_, dy):
    return dy, jnp.sum(dy, axis=tuple(range(dy.ndim - 1)), dtype=jnp.float32).astype(dy.dtype)


_cpu_add_bias.defvjp(lambda x, bias: (_cpu_add_bias(x, bias), None), _add_bias_backward)


class Linear(nnx.Module):
    """A linear layer over the last axis.

    Args:
      in_features: input channels.
      out_features: output channels.
      init: of weight and bias; None for PyTorch's.
      dtype: what it computes in; the weights stay float32.
      rngs: source of the initial values.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        init: nnx.Initializer | None = None,
        dtype=jnp.float32,
        rngs: nnx.Rngs,
    ):
        init = init or uniform_fan_in(in_features)
        self.kernel = nnx.Param(init(rngs.params(), (in_features, out_features), jnp.float32))
        self.bias = nnx.Param(init(rngs.params(), (out_features,), jnp.float32))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows inputs"]) -> Float[Array, "*rows outputs"]:
        """(..., in_features) to (..., out_features)."""
        y = matmul(x.astype(self.dtype), self.kernel[...].astype(self.dtype))
        return add_bias(y, self.bias[...].astype(self.dtype))


class LayerNorm(nnx.Module):
    """Layer normalisation over the last axis (Ba et al., arXiv 1607.06450), in float32; the result is `dtype`."""

    def __init__(self, features: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
        self.scale = nnx.Param(nnx.initializers.ones(rngs.params(), (features,), jnp.float32))
        self.bias = nnx.Param(nnx.initializers.zeros(rngs.params(), (features,), jnp.float32))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows features"]) -> Float[Array, "*rows features"]:
        """(..., features) to (..., features)."""
        norm = _cpu_layer_norm if target().platform == "cpu" else _layer_norm
        return norm(x, self.scale[...], self.bias[...]).astype(self.dtype)


class ScalarNorm(nnx.Module):
    """Normalisation over the last axis with one scale and one shift for all channels, in float32; gives `dtype`.

    `scale (x - mean + shift) / std`: the shift is divided too, and nothing keeps std from 0 (state-spaces/s4,
    `TransposedLN`).
    """

    def __init__(self, features: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
        del features  # it has the same two weights whatever their number
        self.scale = nnx.Param(nnx.initializers.ones(rngs.params(), (1,), jnp.float32))
        self.shift = nnx.Param(nnx.initializers.zeros(rngs.params(), (1,), jnp.float32))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "*rows features"]) -> Float[Array, "*rows features"]:
        """(..., features) to (..., features)."""
        x = x.astype(jnp.float32)
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True))
        return ((centred + self.shift[...]) * (inverse * self.scale[...])).astype(self.dtype)


def _layer_norm(x, scale, bias):
    return _layer_norm_forward(x, scale, bias)[0]


_cpu_layer_norm = jax.custom_vjp(_layer_norm)


def _layer_norm_forward(x, scale, bias):
    x32 = x.astype(jnp.float32)
    # The mean square of the differences, because that of x less the mean's square would cancel.
    mean = jnp.mean(x32, axis=-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x32 - mean), axis=-1, keepdims=True) + 1e-5)
    return (x32 - mean) * (inverse * scale) + bias, (x, mean, inverse, scale)


def _layer_norm_backward(saved, dy):
    x, mean, inverse, scale = saved
    normal = (x.astype(jnp.float32) - mean) * inverse
    to_normal = dy * scale
    along_ones = jnp.mean(to_normal, axis=-1, keepdims=True)
    along_normal = jnp.mean(to_normal * normal, axis=-1, keepdims=True)
    dx = inverse * (to_normal - along_ones - normal * along_normal)
    rows = tuple(range(dy.ndim - 1))
    return dx.astype(x.dtype), jnp.sum(dy * normal, axis=rows), jnp.sum(dy, axis=rows)


_cpu_layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)
