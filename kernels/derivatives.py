"""Functions whose gradient is written by hand, and which can be differentiated in every other way too.

`jax.custom_vjp` refuses forward mode. Here the derivative is a linear system that `lax.custom_linear_solve` takes with
its solution: for the tangents dx of the input and dy of the output, `(I, 0; -J, I) (dx, dy) = (dx, 0)`. Reverse mode
transposes the system and is given the gradient by hand as its solution; forward mode, and derivatives of the gradient
and of the tangent, come from a plain function that JAX differentiates.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Inputs = TypeVar("Inputs")
Outputs = TypeVar("Outputs")


def differentiable(
    value: Callable[[Inputs], Outputs],
    plain: Callable[[Inputs], Outputs],
    gradient: Callable[[Inputs, Outputs], Inputs],
) -> Callable[[Inputs], Outputs]:
    """`value` with all derivatives.

    Args:
      value: a function of a tree of arrays. It need not be differentiable.
      plain: a function with the same values and the right derivatives, which JAX can differentiate.
      gradient: from the inputs and the cotangent of the outputs to that of the inputs, as reverse mode has it.

    Returns:
      A function that computes `value`, whose first gradient in reverse mode is computed by `gradient`.
    """
    function = jax.custom_jvp(value)

    def rule(primals, tangents):
        (x,), (dx,) = primals, tangents
        y = function(x)

        def tangent(dx):
            return jax.jvp(plain, (x,), (dx,))[1]

        def system(unknowns):
            dx, dy = unknowns
            return dx, jax.tree.map(jnp.subtract, dy, tangent(dx))

        def solve(_, right):
            dx, dy = right
            return dx, jax.tree.map(jnp.add, dy, tangent(dx))

        def solve_transposed(_, right):
            to_x, to_y = right
            return jax.tree.map(jnp.add, to_x, gradient(x, to_y)), to_y

        right = dx, jax.tree.map(jnp.zeros_like, y)
        return y, lax.custom_linear_solve(system, right, solve, solve_transposed)[1]

    function.defjvp(rule)
    return function
