"""Minimal filtering: four outputs of a three-tap filter by six products instead of twelve, F(4, 3).

Winograd's method (Lavin and Gray, arXiv 1509.09308): inputs and filter are polynomials, whose product is known by its
values at the points 0, -a, a, -b, b and infinity. Its rounding grows with the points: with a = sqrt(1/2), b = sqrt(2)
it is 2.2 times that of the plain sums, with the usual 1 and 2 it is 3.3 times. Between the transforms stands for each
of the six points one matrix product over the channels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from diffwave_jax.kernels.cpu.network import ordered
from diffwave_jax.kernels.cpu.panels import COLUMNS

OUTPUTS, TAPS, POINTS = 4, 3, 6
WIDTH = 2 * COLUMNS  # of what is transformed back at once; a number that the compiler knows, or it makes no vectors

# The points, their squares a2 and b2, a2 + b2, their cubes, and a b2 and b a2; a2 b2 is 1.
A, B, A2, B2, SUM = np.float32(0.5**0.5), np.float32(2**0.5), np.float32(0.5), np.float32(2), np.float32(2.5)
A3, B3, A_B2, B_A2 = np.float32(0.5**1.5), np.float32(2**1.5), np.float32(2**0.5), np.float32(0.5**0.5)


def at_points(kernel: jax.Array) -> jax.Array:
    """A filter's three taps (3, ...) to (6, ...), by which the values at the six points are to be multiplied."""
    first, middle, last = kernel
    near, near_odd = first + A2 * last, A * middle
    far, far_odd = first + B2 * last, B * middle
    near_scale, far_scale = 2 * A2 * (A2 - B2), 2 * B2 * (B2 - A2)
    values = (near + near_odd) / near_scale, (near - near_odd) / near_scale
    more = (far + far_odd) / far_scale, (far - far_odd) / far_scale
    return jnp.stack([first, *values, *more, last])


@ordered
def to_points(x0, x1, x2, x3, x4, x5, v0, v1, v2, v3, v4, v5):
    """Six inputs, rows of channels, to their values at the six points, rows too."""
    for c in range(len(x0)):
        v0[c] = x0[c] - SUM * x2[c] + x4[c]
        even, odd = x4[c] - B2 * x2[c], A * x3[c] - A_B2 * x1[c]
        v1[c], v2[c] = even + odd, even - odd
        even, odd = x4[c] - A2 * x2[c], B * x3[c] - B_A2 * x1[c]
        v3[c], v4[c] = even + odd, even - odd
        v5[c] = x1[c] - SUM * x3[c] + x5[c]


@ordered
def from_points(products, i, y):
    """Products at the six points (6, groups, WIDTH) of group `i` to its four outputs (4, WIDTH)."""
    for c in range(WIDTH):
        m0, m1, m2 = products[0, i, c], products[1, i, c], products[2, i, c]
        m3, m4, m5 = products[3, i, c], products[4, i, c], products[5, i, c]
        near, near_odd, far, far_odd = m1 + m2, m1 - m2, m3 + m4, m3 - m4
        y[0, c] = m0 + near + far
        y[1, c] = A * near_odd + B * far_odd
        y[2, c] = A2 * near + B2 * far
        y[3, c] = A3 * near_odd + B3 * far_odd + m5
