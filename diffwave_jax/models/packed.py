"""An autoregressive network as the CPU's compiled loops take it: `kernels.cpu.streams` says what a plan is."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from diffwave_jax.kernels.cpu import network as loops
from diffwave_jax.kernels.cpu import streams
from diffwave_jax.kernels.recurrence import Recurrence
from diffwave_jax.kernels.rounding import round_up
from diffwave_jax.models.autoregressive import AutoregressiveSaShiMi
from diffwave_jax.models.backbone import DownPool, S4Block, UpPool
from diffwave_jax.models.dense import Linear, ScalarNorm
from diffwave_jax.models.layers import weight_norm
from diffwave_jax.models.stepping import Constants, stages_of

LINE = 16  # floats of a cache line, on which every array begins


class Packed(NamedTuple):
    """A network for `kernels.cpu.streams`.

    Attributes:
      plan: int64.
      weights: float32.
    """

    plan: np.ndarray
    weights: np.ndarray

    @property
    def state_size(self) -> int:
        """Floats of a stream's state."""
        return int(self.plan[streams.STATE_SIZE])


def pack(network: AutoregressiveSaShiMi, constants: Constants) -> Packed:
    """The network with the constants of its recurrences, `stepping.constants(network)`."""
    packing, config = _Packing(), network.config
    stages = stages_of(network)
    widths = [config.d_model * config.expand**number for number in range(len(stages))]
    ends = list(zip(widths, widths[1:], config.pool, strict=False))
    pools = [packing.pools(network, number, *end) for number, end in enumerate(ends)] + [[0] * 5]
    blocks, rows = [], []
    for number, (stage, width, pool) in enumerate(zip(stages, widths, (*config.pool, 0), strict=True)):
        queue, *to = pools[number]
        counts = [len(stage.down), len(stage.up), len(blocks), int(stage.adds_input)]
        rows.append([width, pool, *counts, queue, *to])
        recurrences = iter(constants[number])
        blocks += [packing.block(layer, recurrences) for layer in [*stage.down, *stage.up]]
    inside = max([2, config.ff]) * max(widths)
    joined = [pool * width for width, _, pool in ends]
    head = [
        *(len(stages), max(widths), max([inside, *joined]), 1 + max(len(stage.down) for stage in stages)),
        *(network.head.bias[...].size, int(isinstance(_norms(network), ScalarNorm)), 0),
        packing.weights(network.embedding.embedding[...]),
        *packing.norm(network.norm, config.d_model),
        *packing.linear(network.head),
    ]
    # A row of an odd number of lines: those of streams side by side then take different places in a cache.
    head[streams.STATE_SIZE] = (round_up(packing.state_size, LINE) // LINE | 1) * LINE
    plan = np.concatenate([np.asarray(part, np.int64).reshape(-1) for part in (head, rows, blocks)])
    return Packed(plan, np.concatenate(packing.arrays))


def _norms(network: AutoregressiveSaShiMi) -> object:
    """One of the blocks' norms, which are alike."""
    return next((block.norm for block in network.s4_blocks()), None)


class _Packing:
    """Puts arrays one after another, and remembers where."""

    def __init__(self):
        self.arrays: list[np.ndarray] = []
        self.size, self.state_size = 0, 0

    def weights(self, array) -> int:
        """The place of an array."""
        flat, at = np.asarray(array, np.float32).reshape(-1), self.size
        filled = round_up(flat.size, LINE)
        self.arrays.append(np.pad(flat, (0, filled - flat.size)))
        self.size += filled
        return at

    def state(self, size: int) -> int:
        """The place of so many numbers in a stream's state."""
        at = self.state_size
        self.state_size += round_up(size, LINE)
        return at

    def norm(self, norm, features: int) -> list[int]:
        """Scale and shift of every feature; a `ScalarNorm`'s shift is multiplied by its scale."""
        if not isinstance(norm, ScalarNorm):
            return [self.weights(norm.scale[...]), self.weights(norm.bias[...])]
        scale = np.asarray(norm.scale[...])
        return [self.weights(np.repeat(value, features)) for value in (scale, scale * np.asarray(norm.shift[...]))]

    def linear(self, layer) -> list[int]:
        """Weights and bias."""
        return [self.weights(_kernel(layer)), self.weights(layer.bias[...])]

    def pools(self, network: AutoregressiveSaShiMi, number: int, width: int, wider: int, pool: int) -> list[int]:
        """The queue between a stage and the next, and both pools, whose groups become sample by sample."""
        down = [layer for layer in network.down if isinstance(layer, DownPool)][number].linear
        up = [layer for layer in network.up if isinstance(layer, UpPool)][::-1][number].linear
        into = _kernel(down).reshape(width, pool, wider).swapaxes(0, 1)
        out = _kernel(up).reshape(wider, width, pool).swapaxes(1, 2)
        bias = np.asarray(up.bias[...]).reshape(width, pool).T
        places = [self.weights(array) for array in (into, down.bias[...], out, bias)]
        return [self.state(pool * width), *places]

    def block(self, layer, recurrences: Iterator[Recurrence]) -> list[int]:
        """A block's row of the plan; an S4 block takes the next recurrence."""
        if isinstance(layer, S4Block):
            output = self.linear(layer.s4.output)
            recurrence, states = self._recurrence(next(recurrences))
            width = layer.s4.D[...].size
            row = [streams.S4, *self.norm(layer.norm, width), *output, int(layer.s4.glu), states, recurrence]
            return [*row, self.state(2 * states * width)]
        width, hidden = layer.ff1.kernel[...].shape
        inside = self.linear(layer.ff1)
        return [streams.FEED_FORWARD, *self.norm(layer.norm, width), *self.linear(layer.ff2), *inside, hidden, 0]

    def _recurrence(self, constants: Recurrence) -> tuple[int, int]:
        """The place of a layer's constants, and the number of its states, with those that fill up the last lanes."""
        packed = lanes(constants)
        flat = [packed.reshape(-1), np.asarray(constants.skip), np.asarray(constants.feedback)]
        return self.weights(np.concatenate(flat)), packed.shape[1] * loops.LANES


def lanes(constants: Recurrence) -> np.ndarray:
    """A layer's constants (heads, blocks, PARTS, LANES) float32, see `kernels.cpu.network.recur`."""
    used, heads = constants.a.real.shape
    parts = np.zeros((heads, loops.PARTS, round_up(used, loops.LANES)), np.float32)
    parts[:, 0, used:] = -1  # a state that fills up must not grow
    for i, part in enumerate(part for pair in constants[:4] for part in pair):
        parts[:, i, :used] = np.asarray(part).T
    return np.ascontiguousarray(parts.reshape(heads, loops.PARTS, -1, loops.LANES).swapaxes(1, 2))


def _kernel(layer) -> np.ndarray:
    """The matrix (in, out) of a linear layer."""
    return np.asarray(layer.kernel[...] if isinstance(layer, Linear) else weight_norm(layer.v[...], layer.g[...]))
