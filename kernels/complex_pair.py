"""Arithmetic of the kernels: complex numbers as pairs of real arrays, and what the backends spell differently.

Complex arrays do not exist in a GPU kernel and are slow elsewhere.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """`real + i imaginary`; operations take another pair. Arrays of any kind that has operators."""

    real: Any
    imaginary: Any

    def __add__(self, other):
        return Pair(self.real + other.real, self.imaginary + other.imaginary)

    def __sub__(self, other):
        return Pair(self.real - other.real, self.imaginary - other.imaginary)

    def __neg__(self):
        return Pair(-self.real, -self.imaginary)

    def __mul__(self, other):
        return Pair(
            self.real * other.real - self.imaginary * other.imaginary,
            self.real * other.imaginary + self.imaginary * other.real,
        )

    def conjugate(self):
        """`real - i imaginary`."""
        return Pair(self.real, -self.imaginary)

    def reciprocal(self):
        """`1 / (real + i imaginary)`, with one division."""
        inverse = 1 / (self.real * self.real + self.imaginary * self.imaginary)
        return Pair(self.real * inverse, -self.imaginary * inverse)


class Arithmetic(NamedTuple):
    """Three operations that backends spell differently.

    `multiply_add(a, b, c)` = a b + c, `subtract_product(a, b, c)` = c - a b, `reciprocal(a)` = 1 / a.
    """

    multiply_add: Callable
    subtract_product: Callable
    reciprocal: Callable


PLAIN = Arithmetic(
    multiply_add=lambda a, b, c: a * b + c,
    subtract_product=lambda a, b, c: c - a * b,
    reciprocal=lambda a: 1 / a,
)
