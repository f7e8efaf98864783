"""Complex arithmetic on pairs of real arrays, for where complex arrays do not exist or are slow."""

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
