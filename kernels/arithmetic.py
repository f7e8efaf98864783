"""Three operations that backends spell differently."""

from collections.abc import Callable
from typing import NamedTuple


class Arithmetic(NamedTuple):
    """`multiply_add(a, b, c)` = a b + c, `subtract_product(a, b, c)` = c - a b, `reciprocal(a)` = 1 / a."""

    multiply_add: Callable
    subtract_product: Callable
    reciprocal: Callable


PLAIN = Arithmetic(
    multiply_add=lambda a, b, c: a * b + c,
    subtract_product=lambda a, b, c: c - a * b,
    reciprocal=lambda a: 1 / a,
)
