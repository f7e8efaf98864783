"""Transforms as a TPU makes them, by products, and as all other devices do, by XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax.kernels import fourier
from diffwave_jax.kernels.target import Target, compile_for

# One factor and two; odd and even, which alone have a middle frequency; primes; two stages at full size.
LENGTHS = [1, 2, 7, 127, 254, 501, 1000, 4000]
# Products of up to 128 numbers in float32, two in turn: 5e-7 of the largest was seen at 4,000 samples.
ROUNDING = 1e-6


def signals(length):
    real, imaginary = np.random.default_rng(length).normal(size=(2, 2, 3, length)).astype(np.float32)
    return real + 1j * imaginary


def on_tpu(function):
    """`function` as a TPU computes it, run here; a new function, or JAX would use what it traced for this device."""

    def call(*arguments):
        with compile_for(Target("tpu")):
            return jax.jit(lambda *x: function(*x))(*arguments)

    return call


def assert_close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * np.abs(expected).max())


@pytest.mark.parametrize("length", LENGTHS)
def test_products_are_the_transform(length):
    x = signals(length)
    assert_close(on_tpu(fourier.fft)(x), np.fft.fft(x.astype(np.complex128)))
    assert_close(on_tpu(fourier.ifft)(x), np.fft.ifft(x.astype(np.complex128)))
    half = x[..., : length // 2 + 1]
    inverse = on_tpu(lambda x: fourier.irfft(x, length))(half)
    assert inverse.dtype == jnp.float32
    assert_close(inverse, np.fft.irfft(half.astype(np.complex128), length))


@pytest.mark.parametrize("length", [7, 254, 1000])
def test_gradients_are_those_of_xlas_transforms(length):
    x, cotangent = signals(length), signals(length)[::-1]
    half = x[..., : length // 2 + 1]
    for function, operand, to in [
        (fourier.fft, x, cotangent),
        (fourier.ifft, x, cotangent),
        (lambda x: fourier.irfft(x, length), half, cotangent.real),
    ]:
        gradient = lambda x, to, function=function: jax.vjp(function, x)[1](to)[0]  # noqa: E731
        assert_close(on_tpu(gradient)(operand, to), np.asarray(gradient(operand, to)))


@pytest.mark.parametrize(("length", "products"), [(16_000, True), (65_536, True), (2 * 521, False), (131_072, False)])
def test_a_tpu_uses_xlas_transforms_for_factors_too_large(length, products):
    with compile_for(Target("tpu")):
        program = str(jax.make_jaxpr(fourier.fft)(jax.ShapeDtypeStruct((3, length), jnp.complex64)))
    assert ("fft[" not in program) == products
    assert ("dot_general[" in program) == products


def test_other_devices_use_xlas_transforms():
    for target in Target("cpu"), Target("cuda", (9, 0)):
        with compile_for(target):
            assert "fft[" in str(jax.make_jaxpr(fourier.fft)(jnp.zeros((3, 16), jnp.complex64)))


def test_a_gradient_has_the_products_of_the_transform():
    """A TPU's compiler makes equal programs once; a gradient turned round by JAX would be another."""

    def products(function):
        program = jax.jit(function).lower(jax.ShapeDtypeStruct((3, 1000), jnp.complex64)).as_text()
        return [line.split("contracting_dims")[1] for line in program.splitlines() if "dot_general" in line]

    with compile_for(Target("tpu")):
        transform, gradient = products(fourier.fft), products(lambda x: jax.vjp(fourier.fft, x)[1](x)[0])
    assert len(transform) == 8  # two complex products
    assert gradient[-8:] == transform
