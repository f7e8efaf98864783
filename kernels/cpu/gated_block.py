"""A residual block of DiffWave as one pass over the audio: what lies between its products never leaves the caches.

All arrays are float32, channels last. For C channels and S skip channels, with K the three-tap kernel:

    gates = (K * h) + bias                     (L, 2 C), samples `dilation` apart; h is 0 outside its clip
    z     = tanh(left half) sigmoid(right half)
    next  = sqrt(1/2) (h + z W) + shift        (L, C)
    skips = skips + z W' + shift'              (L, S)

Four outputs `dilation` apart are made of six inputs (`filtering`). They are a group; groups are numbered so that those
of neighbouring samples follow each other, which is `dilation` of them, then come those 4 * dilation samples further on.
A tile of groups goes through all channels, a panel of columns at a time (`panels`).
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from diffwave_jax.kernels.cpu import foreign
from diffwave_jax.kernels.cpu.elementwise import ROOT_HALF, gated
from diffwave_jax.kernels.cpu.filtering import OUTPUTS, POINTS, TAPS, WIDTH, at_points, from_points, to_points
from diffwave_jax.kernels.cpu.foreign import ARRAY, ARRAYS, PARTS, floats, words
from diffwave_jax.kernels.cpu.loops import shape
from diffwave_jax.kernels.cpu.network import BYTES, ordered
from diffwave_jax.kernels.cpu.panels import COLUMNS, ROWS, product, supported

__all__ = ["block", "fits", "pack", "pays"]

TILE = 4 * ROWS  # groups: what a tile of 256 channels needs, 0.7 MB, stays in a core's second cache
GAP = 16  # floats between rows of scratch memory: rows a power of two apart share a place in a cache
ARGUMENTS, RESULTS = 7, 2  # arrays of a call


def fits(channels: int, skip_channels: int) -> bool:
    """Whether this processor and these sizes can have it."""
    return supported() and channels % COLUMNS == 0 and skip_channels % COLUMNS == 0


def pays(length: int, dilations: list[int]) -> bool:
    """Whether blocks of these dilations need no more products than plain convolutions: not where clips are short."""
    return POINTS * sum(_groups.py_func(length, d) for d in dilations) <= TAPS * length * len(dilations)


def pack(kernel: jax.Array, outward: jax.Array) -> jax.Array:
    """What a block multiplies with, in the order in which it is read.

    Args:
      kernel: (3, C, 2 C), the dilated convolution's.
      outward: (C, C + S), the residual product's columns, then the skip product's.

    Returns:
      (panels, C, COLUMNS): for each COLUMNS gates, at each of the six points, their left and right half; then
      `outward`, its residual columns times sqrt(1/2).
    """
    channels = outward.shape[0]
    points = at_points(kernel).reshape(POINTS, channels, 2, channels // COLUMNS, COLUMNS)
    inward = points.transpose(3, 0, 2, 1, 4).reshape(-1, channels, COLUMNS)
    scaled = outward * jnp.where(jnp.arange(outward.shape[1]) < channels, ROOT_HALF, 1)
    return jnp.concatenate([inward, scaled.reshape(channels, -1, COLUMNS).swapaxes(0, 1)])


def block(
    h: jax.Array,
    skips: jax.Array,
    packed: jax.Array,
    bias: jax.Array,
    shift: jax.Array,
    ends: jax.Array,
    dilation: int,
) -> tuple[jax.Array, jax.Array]:
    """The next `h` (B, L, C) and `skips` (B, L, S); it has no gradient.

    Args:
      h: (B, L, C).
      skips: (B, L, S), sums so far.
      packed: what `pack` made of the weights.
      bias: (B, 1, 2 C), or (B, L, 2 C) where it differs from sample to sample.
      shift: (B, 1, C + S).
      ends: (B,) samples of each clip, from which on the convolution takes `h` for 0.
      dilation: samples between the convolution's taps.
    """
    out = tuple(jax.ShapeDtypeStruct(x.shape, jnp.float32) for x in (h, skips))
    call = jax.ffi.ffi_call(_target(), out, vmap_method="sequential", input_output_aliases={1: 1})
    numbers = ends.astype(jnp.float32)[:, None, None], jnp.full((1, 1, 1), dilation, jnp.float32)
    to_h, to_skips = call(h, skips, packed, bias, shift, *numbers)
    return to_h, to_skips


@cache
def _target() -> str:
    kinds = (jnp.float32,) * ARGUMENTS, (jnp.float32,) * RESULTS
    return foreign.register("diffwave_block", _block_part, _threads, *kinds)


def _threads(address):
    """One for each tile at most."""
    arrays = words(address, ARRAYS + ARGUMENTS * ARRAY)
    clips, length, _ = shape(arrays, 0)
    return max(1, clips * _tiles(length, np.intp(_array(arrays, 6)[0, 0, 0])))


def _block_part(address):
    """A part of the tiles of all clips, for `kernels.cpu.foreign`: from `block`'s arguments to its results."""
    arrays = words(address, ARRAYS + (ARGUMENTS + RESULTS) * ARRAY)
    h, skips, packed = _array(arrays, 0), _array(arrays, 1), _array(arrays, 2)
    bias, shift, ends = _array(arrays, 3), _array(arrays, 4), _array(arrays, 5)
    dilation, to_h, to_skips = np.intp(_array(arrays, 6)[0, 0, 0]), _array(arrays, 7), _array(arrays, 8)
    clips, length, channels = h.shape
    row = channels + GAP
    times = np.zeros(OUTPUTS * TILE, np.intp)
    memory = np.zeros((OUTPUTS + POINTS) * TILE * row + POINTS * TILE * WIDTH, np.float32)
    # Views of plain addresses, for each slice of an array that Numba made would be counted.
    z = floats(memory.ctypes.data, (OUTPUTS * TILE, row))
    points = floats(memory[z.size :].ctypes.data, (POINTS, TILE, row))
    products = floats(memory[z.size + points.size :].ctypes.data, (POINTS, TILE, WIDTH))
    tiles = _tiles(length, dilation)
    part, parts = arrays[0], arrays[PARTS]
    for at in range(part * clips * tiles // parts, (part + 1) * clips * tiles // parts):
        clip, first = at // tiles, at % tiles * TILE
        count = min(TILE, _groups(length, dilation) - first)
        _read(h[clip], np.intp(ends[clip, 0, 0]), dilation, first, count, points, times)
        _gates(points, packed, bias[clip], times, count, products, z)
        _outward(z, packed, times, count, h[clip], skips[clip], shift[clip, 0], to_h[clip], to_skips[clip])
    return 0 * np.intp(memory.size)  # `memory` is used to the end, for Numba frees what no line needs any more


@ordered
def _array(arrays, i):
    return floats(arrays[ARRAYS + ARRAY * i], shape(arrays, i))


@ordered
def _groups(length, dilation):
    whole = length // (OUTPUTS * dilation)
    return whole * dilation + min(dilation, length - whole * OUTPUTS * dilation)


@ordered
def _tiles(length, dilation):
    return (_groups(length, dilation) + TILE - 1) // TILE


@ordered
def _read(h, end, dilation, first, count, points, times):
    """A tile's inputs at the six points, and the sample of each output, -1 where the clip has none."""
    silence = np.zeros(h.shape[1], np.float32)
    for i in range(count):
        start = (first + i) // dilation * OUTPUTS * dilation + (first + i) % dilation
        for j in range(OUTPUTS):
            time = start + j * dilation
            times[OUTPUTS * i + j] = time if time < h.shape[0] else -1
        to_points(
            _row(h, start - dilation, end, silence),
            _row(h, start, end, silence),
            _row(h, start + dilation, end, silence),
            _row(h, start + 2 * dilation, end, silence),
            _row(h, start + 3 * dilation, end, silence),
            _row(h, start + 4 * dilation, end, silence),
            points[0, i],
            points[1, i],
            points[2, i],
            points[3, i],
            points[4, i],
            points[5, i],
        )


@ordered
def _row(h, time, end, silence):
    return h[time] if 0 <= time < end else silence


@ordered
def _gates(points, packed, bias, times, count, products, z):
    """z of a tile."""
    channels, y = packed.shape[1], np.empty((OUTPUTS, WIDTH), np.float32)
    for chunk in range(channels // COLUMNS):
        for point in range(POINTS):
            panel = (chunk * POINTS + point) * 2
            for i in range(0, count, ROWS):
                _multiply(points[point, i:], packed[panel], products[point, i:])
                _multiply(points[point, i:], packed[panel + 1], products[point, i:, COLUMNS:])
        for i in range(count):
            from_points(products, i, y)
            for j in range(OUTPUTS):
                time = times[OUTPUTS * i + j]
                if time >= 0:
                    _gate(y[j], bias[min(time, bias.shape[0] - 1)], channels, chunk * COLUMNS, z[OUTPUTS * i + j])


@ordered
def _multiply(left, panel, out):
    """The first ROWS rows: out = left @ panel."""
    stride, out_stride = left.strides[0] // BYTES, out.strides[0] // BYTES
    addresses = left.ctypes.data, panel.ctypes.data, out.ctypes.data
    product(addresses[0], stride, addresses[1], addresses[2], out_stride, panel.shape[0])  # pyright: ignore[reportCallIssue]: Numba gives the context


@ordered
def _gate(y, bias, channels, start, z):
    left, right, out = bias[start : start + COLUMNS], bias[channels + start :], z[start : start + COLUMNS]
    for c in range(COLUMNS):
        out[c] = gated(y[c] + left[c], y[COLUMNS + c] + right[c])


@ordered
def _outward(z, packed, times, count, h, skips, shift, to_h, to_skips):
    """What a tile adds to both sums."""
    channels, sums = packed.shape[1], np.empty((ROWS, COLUMNS), np.float32)
    first = 2 * POINTS * (channels // COLUMNS)
    for panel in range(first, packed.shape[0]):
        column = (panel - first) * COLUMNS
        for i in range(0, OUTPUTS * count, ROWS):
            _multiply(z[i:], packed[panel], sums)
            for j in range(min(ROWS, OUTPUTS * count - i)):
                time = times[i + j]
                if time >= 0 and column < channels:
                    _add(ROOT_HALF, h[time, column:], sums[j], shift[column:], to_h[time, column:])
                elif time >= 0:
                    at = column - channels
                    _add(np.float32(1), skips[time, at:], sums[j], shift[column:], to_skips[time, at:])


@ordered
def _add(factor, x, y, shift, out):
    for c in range(COLUMNS):
        out[c] = factor * x[c] + y[c] + shift[c]
