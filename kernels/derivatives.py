"""Which derivatives the fast implementations have: the first, in reverse mode. Others are refused in one clear line."""

import contextlib
from collections.abc import Callable, Iterator

import jax

MESSAGE = (
    "the fast S4 kernels have first derivatives in reverse mode alone (jax.grad, jax.vjp); forward mode and second "
    "derivatives (jax.jvp, jax.hessian) are for implementation='reference', in a network s4_implementation='reference'"
)


def first_derivative(function: Callable) -> Callable:
    """`function` of arrays, itself a derivative: it raises TypeError where it is to be differentiated once more.

    A hand-written gradient may leave out what is constant where it is called, such as a scale of 1. Its own derivative
    would then be wrong without a word.
    """
    guarded = jax.custom_jvp(function)

    def refuse(primals, tangents):
        raise TypeError(MESSAGE)

    guarded.defjvp(refuse)
    return guarded


@contextlib.contextmanager
def reverse_mode() -> Iterator[None]:
    """A block that calls a `jax.custom_vjp` function; JAX's error in forward mode becomes one that says what works."""
    try:
        yield
    except TypeError as error:
        if "forward-mode" not in str(error):
            raise
        raise TypeError(MESSAGE) from error
