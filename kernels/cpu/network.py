"""The layers of a causal network of S4 blocks for one step of several streams: loops that Numba compiles.

All arrays are float32; activations are (streams, features), of which a layer uses as many features as it has. Innermost
indices are those of loops from 0, for Numba would otherwise look at each whether it counts from the end. What a stream
gets does not depend on the others, nor on their number.
"""

import math

import numpy as np
from numba import njit

from diffwave_jax.kernels.cpu.elementwise import ONE, ZERO, gelu, sigmoid
from diffwave_jax.kernels.cpu.foreign import floats

LANES = 32  # states of a head are filled up to a multiple: loops of a fixed length need no remainders
PARTS = 8  # arrays of a head's constants: both parts of a, b, f and g of `kernels.recurrence`
EPSILON = np.float32(1e-5)  # of layer normalisation
BYTES = 4  # of a float
CONSTANTS_SIZE, STATES_SIZE = BYTES * PARTS * LANES, BYTES * 2 * LANES  # of a block of states, in bytes

# Only sums may be reordered: a state's own value must be added to its small change, as it is written.
_OPTIONS = {"nogil": True, "error_model": "numpy"}
_FAST = {"nsz", "arcp", "contract", "afn"}
ordered = njit(fastmath=_FAST, **_OPTIONS)
reordered = njit(fastmath=_FAST | {"reassoc"}, **_OPTIONS)


@ordered
def dense(kernel, bias, x, y):
    """y = x W + bias, with W (inputs, outputs): four streams at a time, which share what is read of W."""
    row, rows = 0, x.shape[0]
    while row + 4 <= rows:
        _dense4(kernel, bias, x, y, row)
        row += 4
    while row < rows:
        _dense1(kernel, bias, x, y, row)
        row += 1


@ordered
def _dense1(kernel, bias, x, y, row):
    inputs, outputs = kernel.shape
    for o in range(outputs):
        y[row, o] = bias[o]
    k = 0
    while k + 4 <= inputs:
        a, b, c, d = x[row, k], x[row, k + 1], x[row, k + 2], x[row, k + 3]
        for o in range(outputs):
            w0, w1, w2, w3 = kernel[k, o], kernel[k + 1, o], kernel[k + 2, o], kernel[k + 3, o]
            y[row, o] = y[row, o] + a * w0 + b * w1 + c * w2 + d * w3
        k += 4
    while k < inputs:
        a = x[row, k]
        for o in range(outputs):
            y[row, o] = y[row, o] + a * kernel[k, o]
        k += 1


@ordered
def _dense4(kernel, bias, x, y, row):
    inputs, outputs = kernel.shape
    p, q, r, s = row, row + 1, row + 2, row + 3
    for o in range(outputs):
        y[p, o] = y[q, o] = y[r, o] = y[s, o] = bias[o]
    k = 0
    while k + 4 <= inputs:
        a0, b0, c0, d0 = x[p, k], x[p, k + 1], x[p, k + 2], x[p, k + 3]
        a1, b1, c1, d1 = x[q, k], x[q, k + 1], x[q, k + 2], x[q, k + 3]
        a2, b2, c2, d2 = x[r, k], x[r, k + 1], x[r, k + 2], x[r, k + 3]
        a3, b3, c3, d3 = x[s, k], x[s, k + 1], x[s, k + 2], x[s, k + 3]
        for o in range(outputs):
            w0, w1, w2, w3 = kernel[k, o], kernel[k + 1, o], kernel[k + 2, o], kernel[k + 3, o]
            y[p, o] = y[p, o] + a0 * w0 + b0 * w1 + c0 * w2 + d0 * w3
            y[q, o] = y[q, o] + a1 * w0 + b1 * w1 + c1 * w2 + d1 * w3
            y[r, o] = y[r, o] + a2 * w0 + b2 * w1 + c2 * w2 + d2 * w3
            y[s, o] = y[s, o] + a3 * w0 + b3 * w1 + c3 * w2 + d3 * w3
        k += 4
    while k < inputs:
        a0, a1, a2, a3 = x[p, k], x[q, k], x[r, k], x[s, k]
        for o in range(outputs):
            w0 = kernel[k, o]
            y[p, o] = y[p, o] + a0 * w0
            y[q, o] = y[q, o] + a1 * w0
            y[r, o] = y[r, o] + a2 * w0
            y[s, o] = y[s, o] + a3 * w0
        k += 1


@reordered
def _moments(x, row, features):
    """Mean, and mean square of the differences from it."""
    total = ZERO
    for i in range(features):
        total += x[row, i]
    mean, square = total / np.float32(features), ZERO
    for i in range(features):
        square += (x[row, i] - mean) * (x[row, i] - mean)
    return mean, square / np.float32(features)


@ordered
def normalise(scale, shift, scalar, x, y):
    """`models.dense.ScalarNorm` if `scalar`, else `LayerNorm`; scale and shift for each feature in either."""
    features = scale.size
    for row in range(x.shape[0]):
        mean, variance = _moments(x, row, features)
        inverse = ONE / np.float32(math.sqrt(variance if scalar else variance + EPSILON))
        shifted = inverse if scalar else ONE
        for i in range(features):
            y[row, i] = (x[row, i] - mean) * (inverse * scale[i]) + shifted * shift[i]


@ordered
def recur(constants, blocks, skips, state, stride, u, y):
    """One step of every head, `kernels.recurrence.step`, and GELU of what comes out.

    A head's constants are read once for all streams.

    Args:
      constants: address of (heads, blocks, PARTS, LANES).
      blocks: of LANES states, in a head.
      skips: (2, heads), `skip` and `feedback`.
      state: address of the first stream's (heads, blocks, 2, LANES).
      stride: bytes from a stream's to the next one's.
      u: (streams, heads) inputs.
      y: (streams, heads) outputs.
    """
    rows, heads = u.shape[0], skips.shape[1]
    for head in range(heads):
        first = constants + head * blocks * CONSTANTS_SIZE
        for row in range(rows):
            x, value = state + row * stride + head * blocks * STATES_SIZE, u[row, head]
            rank_one, out = ZERO, ZERO
            for block in range(blocks):
                sums = _sums(first + block * CONSTANTS_SIZE, x + block * STATES_SIZE)
                rank_one += sums[0]
                out += sums[1]
            for block in range(blocks):
                _update(first + block * CONSTANTS_SIZE, x + block * STATES_SIZE, value, rank_one)
            y[row, head] = out + skips[0, head] * value - skips[1, head] * rank_one
    for row in range(rows):
        for head in range(heads):
            y[row, head] = gelu(y[row, head])


@reordered
def _sums(constants, states):
    """<f, x> and <g, x> of a block, given by addresses: arrays of a known shape cost nothing, others a call."""
    c, x = floats(constants, (PARTS, LANES)), floats(states, (2, LANES))
    rank_one, out = ZERO, ZERO
    for m in range(LANES):
        real, imaginary = x[0, m], x[1, m]
        rank_one += c[4, m] * real - c[5, m] * imaginary
        out += c[6, m] * real - c[7, m] * imaginary
    return rank_one, out


@ordered
def _update(constants, states, value, rank_one):
    """x + (a x + b u - <f, x>) of a block: the change is added as a whole, for it is small."""
    c, x = floats(constants, (PARTS, LANES)), floats(states, (2, LANES))
    for m in range(LANES):
        real, imaginary = x[0, m], x[1, m]
        x[0, m] = real + (c[0, m] * real - c[1, m] * imaginary + c[2, m] * value - rank_one)
        x[1, m] = imaginary + (c[0, m] * imaginary + c[1, m] * real + c[3, m] * value)


@ordered
def add_gated(features, wide, h):
    """h += first half * sigmoid(second half)."""
    for row in range(h.shape[0]):
        gate = wide[row, features : 2 * features]
        for i in range(features):
            h[row, i] += wide[row, i] * sigmoid(gate[i])


@ordered
def gelu_all(features, x):
    """In place."""
    for row in range(x.shape[0]):
        for i in range(features):
            x[row, i] = gelu(x[row, i])


@ordered
def add(features, x, h):
    """h += x."""
    for row in range(h.shape[0]):
        for i in range(features):
            h[row, i] += x[row, i]


@ordered
def copy(features, x, y):
    """y = x."""
    for row in range(x.shape[0]):
        for i in range(features):
            y[row, i] = x[row, i]
