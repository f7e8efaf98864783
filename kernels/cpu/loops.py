"""The CPU's loops over nodes and states, compiled by Numba; `kernels.dplr_math` has the same arithmetic, explained.

A tile of nodes is gone through once for every pair of states, so that what is read and written stays in a core's
nearest caches. All arrays are float32 and C-contiguous, for H heads and M states, M even, D directions and n = D + 1;
the last axis of each lies side by side in memory. A head's share of each, and what a tile of T nodes adds:

    a[head], b[head]  (2 n, M)          poles[head]  (3, M)        table[tile]  (4, T)
              state 0 .. M-1                     state 0 .. M-1             node 0 .. T-1
            +----------------+                 +----------------+         +----------------+
    0       | B C_0          |      modulus2   |                |    t    |                |
    D - 1   | B C_(D-1)      |      its rest   |                |    1/t  |                |
    n - 1   | B Q            |      real4      |                |    4t^2 |                |
    n       | P C_0          |                 +----------------+    rest |                |
    2n - 2  | P C_(D-1)      |                                            +----------------+
    2n - 1  | P Q            |      beta[head]   (1, 1)
            +----------------+      `a` and `b` as in `kernels.coefficients`

    spectra[d, head]  (nodes, 2), tiles one after another, real and imaginary part of a node side by side:

            | tile 0                 | tile 1                 | last tile: cut at the last node
            | re im re im ... (T)    | re im re im ... (T)    | re im re im |

Scratch memory of a thread, written anew for every tile:

    factors[i]  (4, T), i = 0, 1    sums  (2 n, 2, T)                  ratios  (4, T)
    of the states `state + i`       first R, then R's gradient         of a tile
            +----------------+              +-------------------+            +----------------+
    Re F    |                |      B C_0   | re (T) | im (T)   |      Re    |                |  (beta - R_BQ)
    Im F    |                |       ..     | rows as those     |      Im    |                |  / (1 + R_PQ)
    Re F/t  |                |       ..     | of `a` and `b`    |      Re    |                |  conj(1 / (1 + R_PQ))
    Im F/t  |                |      P Q     | re (T) | im (T)   |      Im    |                |
            +----------------+              +-------------------+            +----------------+

The arguments `head`, `tile`, `state`, `d` and `x` of a function are places in these: x counts rows of `a`, `b`, `sums`.
Gradients `to_a`, `to_b`, `to_poles` and `to_out` lie as `a`, `b`, `poles` and the spectra do.
"""

import numpy as np
from numba import njit

from diffwave_jax.kernels.cpu.foreign import ARRAY, ARRAYS, PARTS, floats, words

ZERO, ONE = np.float32(0), np.float32(1)

# Only sums over nodes may be reordered, which vectorises them: `_factor` depends on its order of subtractions. NaNs and
# infinities stay what they are.
_OPTIONS = {"nogil": True, "error_model": "numpy"}
_FAST = {"nsz", "arcp", "contract", "afn"}
_ordered = njit(fastmath=_FAST, **_OPTIONS)
_reordered = njit(fastmath=_FAST | {"reassoc"}, **_OPTIONS)


@_ordered
def shape(arrays, i):
    """Dimensions of the i-th array in `kernels.cpu.foreign`'s words."""
    at = ARRAYS + ARRAY * i
    return arrays[at + 1], arrays[at + 2], arrays[at + 3]


@_ordered
def _array(arrays, i):
    return floats(arrays[ARRAYS + ARRAY * i], shape(arrays, i))


@_ordered
def _pairs(arrays, i):
    """Complex numbers as real and imaginary parts."""
    return floats(arrays[ARRAYS + ARRAY * i], (*shape(arrays, i), 2))


@_ordered
def _coefficients(arrays):
    return _array(arrays, 0), _array(arrays, 1), _array(arrays, 2), _array(arrays, 3), _array(arrays, 4)


@_ordered
def _heads(arrays):
    """First and last of this part."""
    heads, part, parts = shape(arrays, 0)[0], arrays[0], arrays[PARTS]
    return heads * part // parts, heads * (part + 1) // parts


@_ordered
def _spectrum(a, b, poles, beta, table, out, heads):
    """Writes the heads `heads[0]` to `heads[1]` of the spectra `out`."""
    count, size = a.shape[1] // 2, table.shape[2]
    factors = np.empty((2, 4, size), np.float32)
    sums = np.empty((2 * count, 2, size), np.float32)
    ratios = np.empty((4, size), np.float32)
    for head in range(heads[0], heads[1]):
        for tile in range(table.shape[0]):
            _sums(a, b, poles, table, head, tile, 0, factors, sums)
            _ratios(beta[head, 0, 0], sums, ratios)
            for d in range(count - 1):
                _write(table, head, tile, d, sums, ratios, out)


@_ordered
def _gradient(a, b, poles, beta, table, to_out, to_a, to_b, to_poles, heads):
    """Writes the heads of the gradients of `a`, `b`, and in `to_poles` of modulus2, 4 t^2 times that, and real4 / t."""
    count, size = a.shape[1] // 2, table.shape[2]
    factors = np.empty((2, 4, size), np.float32)
    sums = np.empty((2 * count, 2, size), np.float32)
    ratios = np.empty((4, size), np.float32)
    correction = np.empty((2, size), np.float32)
    for head in range(heads[0], heads[1]):
        to_a[head], to_b[head], to_poles[head] = ZERO, ZERO, ZERO
        for tile in range(table.shape[0]):
            _sums(a, b, poles, table, head, tile, count - 1, factors, sums)
            _ratios(beta[head, 0, 0], sums, ratios)
            _sums_gradient(table, head, tile, to_out, sums, ratios, correction)
            for state in range(0, a.shape[2], 2):
                _two_factors(poles, table, head, tile, state, factors)
                for x in range(count):
                    _rows_gradient(head, x, state, factors, sums, to_a, to_b)
                for i in range(2):
                    _poles_gradient(a, b, table, head, tile, state, i, factors, sums, to_poles)


@_ordered
def _sums(a, b, poles, table, head, tile, first, factors, sums):
    """All sums from the `first` on, two at a time."""
    sums[:] = ZERO
    for state in range(0, a.shape[2], 2):
        _two_factors(poles, table, head, tile, state, factors)
        for x in range(first - first % 2, sums.shape[0], 2):
            _add(a, b, head, x, state, factors, sums)


@_ordered
def _two_factors(poles, table, head, tile, state, factors):
    for i in range(2):
        _factor(poles, table, head, tile, state + i, factors, i)


@_ordered
def _factor(poles, table, head, tile, state, factors, i):
    modulus2, low, real4 = poles[head, 0, state], poles[head, 1, state], poles[head, 2, state]
    square = real4 * real4
    for l in range(factors.shape[2]):
        over_t = table[tile, 1, l]
        real = ((modulus2 - table[tile, 2, l]) + (low - table[tile, 3, l])) * over_t
        scale = ONE / (real * real + square)
        factors[i, 0, l] = real * scale
        factors[i, 1, l] = real4 * scale
        factors[i, 2, l] = over_t * (real * scale)
        factors[i, 3, l] = over_t * (real4 * scale)


@_ordered
def _add(a, b, head, x, state, factors, sums):
    """Two states' terms `(a / t + i b) F` of two sums; only so many loads would take longer than the arithmetic."""
    y, next_state = x + 1, state + 1
    a0, b0, a1, b1 = a[head, x, state], b[head, x, state], a[head, x, next_state], b[head, x, next_state]
    c0, d0, c1, d1 = a[head, y, state], b[head, y, state], a[head, y, next_state], b[head, y, next_state]
    for l in range(sums.shape[2]):
        real0, imaginary0, real1, imaginary1 = factors[0, 0, l], factors[0, 1, l], factors[1, 0, l], factors[1, 1, l]
        over0, iover0, over1, iover1 = factors[0, 2, l], factors[0, 3, l], factors[1, 2, l], factors[1, 3, l]
        sums[x, 0, l] += a0 * over0 - b0 * imaginary0 + (a1 * over1 - b1 * imaginary1)
        sums[x, 1, l] += a0 * iover0 + b0 * real0 + (a1 * iover1 + b1 * real1)
        sums[y, 0, l] += c0 * over0 - d0 * imaginary0 + (c1 * over1 - d1 * imaginary1)
        sums[y, 1, l] += c0 * iover0 + d0 * real0 + (c1 * iover1 + d1 * real1)


@_ordered
def _ratios(beta, sums, ratios):
    count = sums.shape[0] // 2
    bq, pq = count - 1, 2 * count - 1
    for l in range(ratios.shape[1]):
        real, imaginary = ONE + sums[pq, 0, l], sums[pq, 1, l]
        scale = ONE / (real * real + imaginary * imaginary)
        to_real, to_imaginary = real * scale, imaginary * scale
        above, below = beta - sums[bq, 0, l], -sums[bq, 1, l]
        ratios[0, l] = above * to_real + below * to_imaginary
        ratios[1, l] = below * to_real - above * to_imaginary
        ratios[2, l] = to_real
        ratios[3, l] = to_imaginary


@_ordered
def _write(table, head, tile, d, sums, ratios, out):
    p, start = sums.shape[0] // 2 + d, tile * ratios.shape[1]
    for l in range(min(ratios.shape[1], out.shape[2] - start)):
        real = sums[d, 0, l] + ratios[0, l] * sums[p, 0, l] - ratios[1, l] * sums[p, 1, l]
        imaginary = sums[d, 1, l] + ratios[0, l] * sums[p, 1, l] + ratios[1, l] * sums[p, 0, l]
        t = table[tile, 0, l]
        out[d, head, start + l, 0] = real - t * imaginary
        out[d, head, start + l, 1] = imaginary + t * real


@_ordered
def _sums_gradient(table, head, tile, to_out, sums, ratios, correction):
    """From the spectra's gradient to that of all sums, in place; `correction` is scratch memory."""
    correction[:] = ZERO
    for d in range(to_out.shape[0]):
        _to_c(table, head, tile, d, to_out, sums, ratios, correction)
    _to_q(sums, ratios, correction)


@_ordered
def _to_c(table, head, tile, d, to_out, sums, ratios, correction):
    """Writes the gradients of the sums of B C_d and P C_d: 0 beyond the last node, where nothing is to be added up."""
    p, start, size = sums.shape[0] // 2 + d, tile * ratios.shape[1], ratios.shape[1]
    count = min(size, to_out.shape[2] - start)
    for l in range(count):
        t, real, imaginary = table[tile, 0, l], to_out[d, head, start + l, 0], -to_out[d, head, start + l, 1]
        real, imaginary = real + t * imaginary, imaginary - t * real
        correction[0, l] += sums[p, 0, l] * real + sums[p, 1, l] * imaginary
        correction[1, l] += sums[p, 0, l] * imaginary - sums[p, 1, l] * real
        sums[d, 0, l], sums[d, 1, l] = real, imaginary
        sums[p, 0, l] = ratios[0, l] * real + ratios[1, l] * imaginary
        sums[p, 1, l] = ratios[0, l] * imaginary - ratios[1, l] * real
    for l in range(count, size):
        sums[d, 0, l] = sums[d, 1, l] = sums[p, 0, l] = sums[p, 1, l] = ZERO


@_ordered
def _to_q(sums, ratios, correction):
    """Writes the gradients of the sums of B Q and P Q."""
    count = sums.shape[0] // 2
    bq, pq = count - 1, 2 * count - 1
    for l in range(ratios.shape[1]):
        real = ratios[3, l] * correction[1, l] - ratios[2, l] * correction[0, l]
        imaginary = -ratios[2, l] * correction[1, l] - ratios[3, l] * correction[0, l]
        sums[bq, 0, l], sums[bq, 1, l] = real, imaginary
        sums[pq, 0, l] = ratios[0, l] * real + ratios[1, l] * imaginary
        sums[pq, 1, l] = ratios[0, l] * imaginary - ratios[1, l] * real


@_reordered
def _rows_gradient(head, x, state, factors, sums, to_a, to_b):
    """Adds to the gradients of `a` and `b` for two states, for product x with B and with P."""
    p, next_state = sums.shape[0] // 2 + x, state + 1
    a0, b0, c0, d0, a1, b1, c1, d1 = ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO, ZERO
    for l in range(factors.shape[2]):
        real, imaginary, real_p, imaginary_p = sums[x, 0, l], sums[x, 1, l], sums[p, 0, l], sums[p, 1, l]
        f, g, over, iover = factors[0, 0, l], factors[0, 1, l], factors[0, 2, l], factors[0, 3, l]
        a0 += over * real + iover * imaginary
        b0 += f * imaginary - g * real
        c0 += over * real_p + iover * imaginary_p
        d0 += f * imaginary_p - g * real_p
        f, g, over, iover = factors[1, 0, l], factors[1, 1, l], factors[1, 2, l], factors[1, 3, l]
        a1 += over * real + iover * imaginary
        b1 += f * imaginary - g * real
        c1 += over * real_p + iover * imaginary_p
        d1 += f * imaginary_p - g * real_p
    to_a[head, x, state] += a0
    to_b[head, x, state] += b0
    to_a[head, p, state] += c0
    to_b[head, p, state] += d0
    to_a[head, x, next_state] += a1
    to_b[head, x, next_state] += b1
    to_a[head, p, next_state] += c1
    to_b[head, p, next_state] += d1


@_reordered
def _poles_gradient(a, b, table, head, tile, state, i, factors, sums, to_poles):
    """Adds to the poles' gradients of state + i, by F's: three products with B and P, the third 0 if there is none."""
    count, state = sums.shape[0] // 2, state + i
    x, y, z, p, q, r = 0, 1, count - 1, count, count + 1, 2 * count - 1
    a0, b0, c0, d0 = a[head, x, state], b[head, x, state], a[head, p, state], b[head, p, state]
    a1, b1, c1, d1 = a[head, y, state], b[head, y, state], a[head, q, state], b[head, q, state]
    a2, b2, c2, d2 = a[head, z, state], b[head, z, state], a[head, r, state], b[head, r, state]
    if count == 2:
        a2 = b2 = c2 = d2 = ZERO
    to_modulus2, to_square, to_real4 = ZERO, ZERO, ZERO
    for l in range(factors.shape[2]):
        real0, real1, real2, real3 = sums[x, 0, l], sums[y, 0, l], sums[z, 0, l], sums[p, 0, l]
        real4, real5, imaginary0, imaginary1 = sums[q, 0, l], sums[r, 0, l], sums[x, 1, l], sums[y, 1, l]
        imaginary2, imaginary3, imaginary4, imaginary5 = sums[z, 1, l], sums[p, 1, l], sums[q, 1, l], sums[r, 1, l]
        over_t, f, g = table[tile, 1, l], factors[i, 0, l], factors[i, 1, l]
        over_real = a0 * real0 + a1 * real1 + a2 * real2 + c0 * real3 + c1 * real4 + c2 * real5
        over_imaginary = (
            a0 * imaginary0 + a1 * imaginary1 + a2 * imaginary2 + c0 * imaginary3 + c1 * imaginary4 + c2 * imaginary5
        )
        b_real = b0 * real0 + b1 * real1 + b2 * real2 + d0 * real3 + d1 * real4 + d2 * real5
        b_imaginary = (
            b0 * imaginary0 + b1 * imaginary1 + b2 * imaginary2 + d0 * imaginary3 + d1 * imaginary4 + d2 * imaginary5
        )
        to_real, to_imaginary = over_t * over_real + b_imaginary, over_t * over_imaginary - b_real
        # F^2 / t
        real = factors[i, 2, l] * f - factors[i, 3, l] * g
        imaginary = factors[i, 2, l] * g + factors[i, 3, l] * f
        minus_modulus2 = real * to_real + imaginary * to_imaginary
        to_modulus2 -= minus_modulus2
        to_square -= minus_modulus2 * table[tile, 2, l]
        to_real4 += (real * to_imaginary - imaginary * to_real) * table[tile, 0, l]
    to_poles[head, 0, state] += to_modulus2
    to_poles[head, 1, state] += to_square
    to_poles[head, 2, state] += to_real4


def spectrum_part(address):
    """A part of the heads, for `kernels.cpu.foreign`: from a, b, poles, beta, table to spectra."""
    arrays = words(address, ARRAYS + 6 * ARRAY)
    a, b, poles, beta, table = _coefficients(arrays)
    _spectrum(a, b, poles, beta, table, _pairs(arrays, 5), _heads(arrays))
    return 0


def gradient_part(address):
    """A part of the heads, for `kernels.cpu.foreign`: from a, b, poles, beta, table and the spectra's gradient to the
    gradients of a, b and poles, as `_gradient` says.
    """
    arrays = words(address, ARRAYS + 9 * ARRAY)
    a, b, poles, beta, table = _coefficients(arrays)
    to_a, to_b, to_poles = _array(arrays, 6), _array(arrays, 7), _array(arrays, 8)
    _gradient(a, b, poles, beta, table, _pairs(arrays, 5), to_a, to_b, to_poles, _heads(arrays))
    return 0
