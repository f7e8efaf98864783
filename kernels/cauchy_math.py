"""The arithmetic of the bare Cauchy sum, shared by every fast implementation.

A conjugate pair's term `v / (z - w) + conj(v) / (z - conj(w))` is `(a + b z) F` with `a = -2 Re(v conj(w))`,
`b = 2 Re(v)` and `F = 1 / ((z - w) (z - conj(w)))`, whose differences are taken first and so stay exact near w.
"""

from typing import Any, NamedTuple

from diffwave_jax.kernels.complex_pair import PLAIN, Arithmetic, Pair


class Poles(NamedTuple):
    """`a`, `b`, and the real and imaginary part of w, which broadcast against the nodes."""

    a: Any
    b: Any
    real: Any
    imaginary: Any


def factor(z: Pair, poles: Poles, arithmetic: Arithmetic = PLAIN) -> Pair:
    """F."""
    difference = z.real - poles.real
    real = arithmetic.subtract_product(
        z.imaginary - poles.imaginary, z.imaginary + poles.imaginary, difference * difference
    )
    imaginary = (z.imaginary + z.imaginary) * difference
    inverse = arithmetic.reciprocal(arithmetic.multiply_add(real, real, imaginary * imaginary))
    return Pair(real * inverse, -(imaginary * inverse))


def numerator(z: Pair, poles: Poles) -> Pair:
    """`a + b z`."""
    return Pair(poles.a + poles.b * z.real, poles.b * z.imaginary)


def poles_gradient(z: Pair, poles: Poles, factor: Pair, gradient: Pair) -> tuple:
    """What a node adds to the gradient of `a`, of `b`, to half that of `real` and to `imaginary`'s over `-2 imaginary`.

    Gradients are pairs as in `kernels.dplr_math`.
    """
    conjugate = factor.conjugate()
    to_a = conjugate * gradient
    to_b = z.conjugate() * to_a
    square = conjugate * numerator(z, poles).conjugate() * to_a
    return to_a.real, to_b.real, (z.real - poles.real) * square.real + z.imaginary * square.imaginary, square.real


def nodes_derivative(z: Pair, poles: Poles, factor: Pair) -> Pair:
    """A term's derivative to z: `b F - 2 (a + b z) (z - Re w) F^2`."""
    difference = Pair(z.real - poles.real, z.imaginary)
    product = numerator(z, poles) * difference * factor
    return Pair(poles.b - (product.real + product.real), -(product.imaginary + product.imaginary)) * factor
