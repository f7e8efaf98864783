"""Elementary functions in float32 that the CPU's loops may be vectorised with: arithmetic alone, no branches.

NumPy's and Python's own are calls of a library, one number at a time. The coefficients were fitted for these loops, to
a relative error below the rounding of float32.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
ROOT_HALF = np.float32(np.sqrt(0.5))

# erf(x) = x P(x^2) / Q(x^2) up to ERF_END, where it has become 1: relative error 2e-8 before rounding.
ERF_END = np.float32(3.9)
P = tuple(
    np.float32(c) for c in (1.1283791065, 0.1896633506, 0.05266761035, 0.003738192376, 0.0002850580495, 2.066492016e-06)
)
Q = tuple(np.float32(c) for c in (1.0, 0.5014175773, 0.113817513, 0.01491397154, 0.00115733745, 3.826999455e-05))
P0, P1, P2, P3, P4, P5 = P
Q0, Q1, Q2, Q3, Q4, Q5 = Q

# exp(x) = 2^n (1 + r + r^2 E(r)), x = n ln 2 + r: relative error 4e-9 before rounding.
E0, E1, E2, E3, E4 = (
    np.float32(c) for c in (0.4999998808, 0.1666651815, 0.04166953266, 0.008368915878, 0.001375140739)
)
LOWEST, HIGHEST = np.float32(-87), np.float32(87)
LOG2E = np.float32(1 / np.log(2))
LN2_HIGH = np.float32(0.693359375)  # few digits, so that n times it is exact
LN2_LOW = np.float32(np.log(2) - 0.693359375)
ROUND = np.float32(1.5 * 2**23)  # added and taken away again, it leaves the nearest whole number
TANH_END = np.float32(18)
BIAS, MANTISSA = np.int32(127), np.int32(23)


@njit(fastmath={"nsz", "arcp", "contract", "afn"}, error_model="numpy")
def gelu(x):
    """x times the normal distribution function."""
    c = min(max(x * ROOT_HALF, -ERF_END), ERF_END)
    z = c * c
    p = P0 + z * (P1 + z * (P2 + z * (P3 + z * (P4 + z * P5))))
    q = Q0 + z * (Q1 + z * (Q2 + z * (Q3 + z * (Q4 + z * Q5))))
    return HALF * x * (ONE + c * p / q)


@njit(error_model="numpy")
def exp(x):
    """e^x from -87 on; 0 below, and e^87 above 87."""
    c = min(max(x, LOWEST), HIGHEST)
    shifted = c * LOG2E + ROUND
    n = shifted - ROUND
    r = (c - n * LN2_HIGH) - n * LN2_LOW
    power = _float((np.int32(n) + BIAS) << MANTISSA)  # pyright: ignore[reportCallIssue]: Numba gives the context
    value = power * (ONE + (r + r * r * (E0 + r * (E1 + r * (E2 + r * (E3 + r * E4))))))
    return value if x >= LOWEST else ZERO


@njit(error_model="numpy")
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return ONE / (ONE + exp(-x))


@njit(error_model="numpy")
def gated(x, y):
    """tanh(x) sigmoid(y) with one division; from 9 on float32's tanh is 1."""
    power = exp(min(max(x + x, -TANH_END), TANH_END))
    return (power - ONE) / ((power + ONE) * (ONE + exp(-y)))


@intrinsic
def _float(typing_context, bits):
    """The float32 number of these 32 bits."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(builder.trunc(arguments[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), generate
