"""Tokens drawn one after another from an autoregressive network, for a few streams: one C function for all networks.

What network it is stands in a plan, an array of 64-bit words: a head of FIELDS, a row of STAGE_FIELDS for each stage
from the full rate to the centre, then a row of BLOCK_FIELDS for each block in the order in which a stage runs them.
"At" is a place in the weights, "kept" one in a stream's row of the state, both counted in floats.
`diffwave_jax/models/stepping.py` says what a step is.

    head:  stages, widest stage, most features inside a layer or a pool, most skips, tokens, 1 for scalar norms, length
           of a row of the state; at: the embedding (tokens, width), the last norm's scale and shift, the last linear
           layer's weights and bias
    stage: width, pool towards the next stage (0 in the centre), blocks on the way down, blocks on the way up, first
           block, 1 if the input of `up` is added to its output; kept: the queue (pool, width) from the next stage;
           at: weights and bias of the pools down and up, whose groups are sample by sample
    block: FEED_FORWARD; at: the norm's scale and shift, weights and bias outside, weights and bias inside; inner width
        or S4; at: the norm's scale and shift, output weights and bias; 1 if gated, states; at: constants (heads,
           blocks of LANES states, PARTS, LANES), then `skip` and `feedback`; kept: states (heads, blocks, 2, LANES)
"""

import math

import numpy as np

from diffwave_jax.kernels.cpu.elementwise import ZERO, exp
from diffwave_jax.kernels.cpu.foreign import floats, words
from diffwave_jax.kernels.cpu.network import (
    BYTES,
    LANES,
    PARTS,
    add,
    add_gated,
    copy,
    dense,
    gelu_all,
    normalise,
    ordered,
    recur,
)

FIELDS, STAGE_FIELDS, BLOCK_FIELDS = 12, 11, 9
STAGES, WIDEST, INSIDE, SKIPS, LEVELS, SCALAR, STATE_SIZE, EMBEDDING, SCALE, SHIFT, HEAD, HEAD_BIAS = range(FIELDS)
WIDTH, POOL, DOWN, UP, FIRST, ADDS_INPUT, QUEUE, TO_DOWN, TO_DOWN_BIAS, TO_UP, TO_UP_BIAS = range(STAGE_FIELDS)
KIND, NORM_SCALE, NORM_SHIFT, OUT, OUT_BIAS = range(5)  # of a block of either kind
INTO, INTO_BIAS, INSIDE_WIDTH = 5, 6, 7
GATED, STATES, CONSTANTS, S4_STATE = 5, 6, 7, 8
FEED_FORWARD, S4 = 0, 1

# What the C function gets: addresses, then sizes.
CALL = 12
PLAN, PLAN_SIZE, WEIGHTS, STATE, LAST, GIVEN, UNIFORMS, PROBABILITIES, SHARPNESS, SHARPNESS_SIZE, ROWS, SAMPLES = range(
    CALL
)
DRAWN = -1  # in place of a given token: it is drawn, and written there


@ordered
def _advance(plan, weights, state, last, given, uniforms, probabilities, sharpness):
    """Goes through `given` (T, rows), T a multiple of the period; `weights` and `state` are addresses."""
    rows, stages, widest, levels = len(last), plan[STAGES], plan[WIDEST], plan[LEVELS]
    h = np.empty((3, rows, widest), np.float32)
    wide = np.empty((rows, plan[INSIDE]), np.float32)
    skips = np.empty((plan[SKIPS], rows, widest), np.float32)
    joined = np.empty((stages, rows, plan[INSIDE]), np.float32)
    logits, scratch = np.empty((rows, levels), np.float32), np.empty((2, levels), np.float32)
    width = _stage(plan, 0)[WIDTH]
    embedding = _matrix(weights, plan[EMBEDDING], levels, width)
    for t in range(given.shape[0]):
        for row in range(rows):
            for i in range(width):
                h[0, row, i] = embedding[last[row], i]
        _step(plan, weights, state, 0, t, h, wide, skips, joined)
        normalise(_vector(weights, plan[SCALE], width), _vector(weights, plan[SHIFT], width), False, h[0], h[1])
        dense(_matrix(weights, plan[HEAD], width, levels), _vector(weights, plan[HEAD_BIAS], levels), h[1], logits)
        for row in range(rows):
            if given[t, row] == DRAWN:
                given[t, row] = _draw(logits[row], uniforms[t, row], sharpness, scratch)
            last[row] = given[t, row]
            probabilities[t, row] = _log_probability(logits[row], last[row])
        _lower_stages(plan, weights, state, t + 1, h, wide, skips, joined)


@ordered
def _lower_stages(plan, weights, state, count, h, wide, skips, joined):
    """Those whose turn it is after `count` samples."""
    number, upper = 0, _stage(plan, 0)
    while upper[POOL] > 0 and count % upper[POOL] == 0:
        count //= upper[POOL]
        lower, pooled = _stage(plan, number + 1), upper[POOL] * upper[WIDTH]
        down = _matrix(weights, upper[TO_DOWN], pooled, lower[WIDTH])
        dense(down, _vector(weights, upper[TO_DOWN_BIAS], lower[WIDTH]), joined[number], h[0])
        _step(plan, weights, state, number + 1, count - 1, h, wide, skips, joined)
        up = _matrix(weights, upper[TO_UP], lower[WIDTH], pooled)
        dense(up, _vector(weights, upper[TO_UP_BIAS], pooled), h[0], wide)
        for row in range(h.shape[1]):
            queue = _vector(state + BYTES * plan[STATE_SIZE] * row, upper[QUEUE], pooled)
            for i in range(pooled):
                queue[i] = wide[row, i]
        number, upper = number + 1, lower


@ordered
def _step(plan, weights, state, number, count, h, wide, skips, joined):
    """A stage's step after `count` of its steps, from its input in `h[0]` to its output; `joined` gets its share."""
    stage = _stage(plan, number)
    width, down = stage[WIDTH], stage[DOWN]
    copy(width, h[0], skips[0])
    for i in range(down):
        _block(plan, weights, state, stage[FIRST] + i, width, h, wide)
        copy(width, h[0], skips[i + 1])
    if stage[POOL] > 0:
        place = width * (count % stage[POOL])
        for row in range(h.shape[1]):
            share = joined[number, row, place : place + width]
            below = _vector(state + BYTES * plan[STATE_SIZE] * row, stage[QUEUE] + place, width)
            for i in range(width):
                share[i] = h[0, row, i]
                h[0, row, i] += below[i]
    if stage[ADDS_INPUT]:
        copy(width, h[0], skips[down])
    for i in range(stage[UP]):
        _block(plan, weights, state, stage[FIRST] + down + i, width, h, wide)
        if i < down:
            add(width, skips[down - 1 - i], h[0])
    if stage[ADDS_INPUT]:
        add(width, skips[down], h[0])


@ordered
def _block(plan, weights, state, number, width, h, wide):
    """`x + S4(norm(x))` or `x + FF(norm(x))`, in place in `h[0]`."""
    row = FIELDS + plan[STAGES] * STAGE_FIELDS + number * BLOCK_FIELDS
    block = plan[row : row + BLOCK_FIELDS]
    scale, shift = _vector(weights, block[NORM_SCALE], width), _vector(weights, block[NORM_SHIFT], width)
    normalise(scale, shift, plan[SCALAR] == 1, h[0], h[1])
    if block[KIND] == FEED_FORWARD:
        inside = block[INSIDE_WIDTH]
        dense(_matrix(weights, block[INTO], width, inside), _vector(weights, block[INTO_BIAS], inside), h[1], wide)
        gelu_all(inside, wide)
        dense(_matrix(weights, block[OUT], inside, width), _vector(weights, block[OUT_BIAS], width), wide, h[1])
        add(width, h[1], h[0])
        return
    blocks, outputs = block[STATES] // LANES, width * (1 + block[GATED])
    skips = _matrix(weights, block[CONSTANTS] + PARTS * block[STATES] * width, 2, width)
    constants, states = weights + BYTES * block[CONSTANTS], state + BYTES * block[S4_STATE]
    recur(constants, blocks, skips, states, BYTES * plan[STATE_SIZE], h[1], h[2])
    dense(_matrix(weights, block[OUT], width, outputs), _vector(weights, block[OUT_BIAS], outputs), h[2], wide)
    if block[GATED]:
        add_gated(width, wide, h[0])
    else:
        add(width, wide, h[0])


@ordered
def _stage(plan, number):
    row = FIELDS + number * STAGE_FIELDS
    return plan[row : row + STAGE_FIELDS]


@ordered
def _vector(address, at, size):
    return floats(address + BYTES * at, size)


@ordered
def _matrix(address, at, rows, columns):
    return floats(address + BYTES * at, (rows, columns))


@ordered
def _draw(logits, uniform, sharpness, sums):
    """`generation.drawing.draw` for one stream; `sharpness` is empty, or temperature and top_p."""
    levels, kept = len(logits), sums[1]
    if len(sharpness) == 0:
        for k in range(levels):
            kept[k] = logits[k]
    else:
        _sharpen(logits, sharpness[0], sharpness[1], sums[0], kept)
    largest = np.max(kept)
    for k in range(levels):
        kept[k] = exp(kept[k] - largest)
    total = ZERO
    for k in range(levels):
        total += kept[k]
        kept[k] = total
    limit, token = uniform * total, 0
    for k in range(levels):
        token += kept[k] <= limit and kept[k] < total
    return token


@ordered
def _sharpen(logits, temperature, top_p, p, kept):
    """Logits over the temperature; of tokens outside the nucleus, so low that nothing is left of them."""
    levels, largest, total = len(logits), np.max(logits), ZERO
    for k in range(levels):
        p[k] = exp(logits[k] - largest)
        total += p[k]
    for k in range(levels):
        p[k] /= total
    for k in range(levels):
        more_probable, of_this = ZERO, p[k]
        for j in range(levels):
            more_probable += p[j] if p[j] > of_this else ZERO
        kept[k] = logits[k] / temperature if more_probable <= top_p else -np.float32(np.inf)


@ordered
def _log_probability(logits, token):
    """Natural logarithm of the token's probability; NaN if the logits are no numbers."""
    largest, total, finite = np.max(logits), ZERO, ZERO
    for k in range(len(logits)):
        total += exp(logits[k] - largest)
        finite += logits[k] * ZERO
    return logits[token] - (largest + np.float32(math.log(total))) + finite


def advance_part(address):
    """What C calls, with CALL words at the address; tokens, states and probabilities are written in place."""
    call = words(address, CALL)
    rows, samples = call[ROWS], call[SAMPLES]
    _advance(
        words(call[PLAN], call[PLAN_SIZE]),
        call[WEIGHTS],
        call[STATE],
        words(call[LAST], rows),
        words(call[GIVEN], (samples, rows)),
        floats(call[UNIFORMS], (samples, rows)),
        floats(call[PROBABILITIES], (samples, rows)),
        floats(call[SHARPNESS], call[SHARPNESS_SIZE]),
    )
    return 0
