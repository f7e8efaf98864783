"""What each of our kernels must do at least: float32 operations, and bytes read and written."""

from typing import NamedTuple

import jax

KERNELS = ("dplr_forward", "dplr_backward_sums", "dplr_backward_states")


class Shape(NamedTuple):
    """Sizes of a call of `kernels.dplr_spectrum`; states are the stored ones, half of N."""

    heads: int
    states: int
    length: int
    directions: int = 2

    @property
    def nodes(self) -> int:
        """Number of nodes of the spectrum."""
        return self.length // 2 + 1

    def arguments(self) -> list[jax.ShapeDtypeStruct]:
        """dt, w, b, p, c."""
        states = (self.heads, self.states)
        shapes = (self.heads,), states, states, states, (self.directions, *states)
        return [jax.ShapeDtypeStruct(shape, "complex64" if len(shape) > 1 else "float32") for shape in shapes]


def operations(shape: Shape, kernel: str) -> int:
    """Float32 additions, multiplications and fused multiply-adds; reciprocals have a unit of their own."""
    products = 2 * shape.directions + 2
    factor_and_over_t = 7 + 2
    to_products, to_factor, to_coefficients = 4 * products, 4 * products, 11
    per_term = {
        "dplr_forward": factor_and_over_t + 4 * products,
        "dplr_backward_sums": factor_and_over_t + 4 * (shape.directions + 2),
        "dplr_backward_states": factor_and_over_t + to_products + to_factor + to_coefficients,
    }
    return per_term[kernel] * shape.heads * shape.states * shape.nodes


def moved_bytes(shape: Shape, kernel: str) -> int:
    """Bytes read and written; the coefficients, which are few, are left out."""
    spectra, sums = 2 * shape.directions, 2 * (2 * shape.directions + 2)
    floats = {"dplr_forward": spectra, "dplr_backward_sums": spectra + sums, "dplr_backward_states": sums}
    return 4 * shape.heads * shape.nodes * floats[kernel]
