"""The autoregressive SaShiMi one sample after another, in periods of as many as its centre sees as one.

A stage takes a step each time the stage before it, at a higher rate, has taken `pool` of them. What it finds is for
that stage's next `pool` steps, so a period is a nest of scans without branches: the inputs of an inner scan are what
the stage below made in the period before, and what the inner scan collects is the stage's own input.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from diffwave_jax.kernels.recurrence import Halves, Recurrence
from diffwave_jax.kernels.recurrence import initial_state as initial_s4_state
from diffwave_jax.models.autoregressive import AutoregressiveSaShiMi
from diffwave_jax.models.backbone import DownPool, S4Block, UpPool

START = 128  # the token before the first: silence

Constants = tuple[tuple[Recurrence, ...], ...]  # of each stage's S4 blocks, in execution order
Choose = Callable[[jax.Array, Any], tuple[jax.Array, Any]]


class StageState(NamedTuple):
    """What a stage, and those at higher rates, keep from one step to the next.

    Attributes:
      above: the state of the stage at the next higher rate; of the first stage, the last token (B,).
      queue: (pool, B, H) what the stage has made for the next `pool` steps of the stage above; () in the first stage.
      s4: of each S4 block.
    """

    above: Any
    queue: jax.Array | tuple
    s4: tuple[Halves, ...]


class Stage(NamedTuple):
    """The blocks of one stage.

    Attributes:
      down: its blocks on the way down.
      up: its blocks on the way up; in the centre all of them.
      adds_input: the input of `up` is added to its output.
    """

    down: list[Any]
    up: list[Any]
    adds_input: bool


def constants(network: AutoregressiveSaShiMi) -> Constants:
    """What `advance` needs of the network besides: made in float64 on the host, once for a model."""
    return tuple(tuple(block.s4.recurrence() for block in blocks) for blocks in network.s4_blocks_by_stage())


def initial_state(network: AutoregressiveSaShiMi, constants: Constants, batch: int) -> StageState:
    """The state before the first sample of `batch` clips: `START` is what they are said to follow."""
    config = network.config
    state: Any = jnp.full(batch, START, jnp.int32)
    for stage, layers in enumerate(constants):
        queue: Any = ()
        if stage:
            width = config.d_model * config.expand ** (stage - 1)
            queue = jnp.zeros((config.pool[stage - 1], batch, width), config.dtype)
        state = StageState(state, queue, tuple(initial_s4_state(layer, batch) for layer in layers))
    return state


def advance(
    network: AutoregressiveSaShiMi, constants: Constants, state: StageState, choose: Choose, inputs: Any
) -> tuple[StageState, Any]:
    """Goes through whole periods, sample by sample.

    Args:
      network: the network.
      constants: what `constants(network)` returned.
      state: of B clips.
      choose: `choose(logits (B, LEVELS), inputs of the sample) -> tokens (B,), outputs`: the tokens that follow.
      inputs: arrays with samples first, (T, ...), T a multiple of the network's period.

    Returns:
      The state after T samples, and the outputs (T, ...).
    """
    pool = tuple(reversed(network.config.pool))
    period = math.prod(pool)
    periods = jax.tree.map(lambda x: x.reshape(x.shape[0] // period, *pool, *x.shape[1:]), inputs)
    walk = _Walk(network, constants, choose)

    def one(state, inputs):
        state, _, outputs = walk.step(len(pool), state, inputs, 0)
        return state, outputs

    state, outputs = jax.lax.scan(one, state, periods)
    return state, jax.tree.map(lambda y: y.reshape(-1, *y.shape[1 + len(pool) :]), outputs)


class _Walk:
    """The steps of all stages."""

    def __init__(self, network: AutoregressiveSaShiMi, constants: Constants, choose: Choose):
        self._network, self._constants, self._choose = network, constants, choose
        self._stages = stages_of(network)
        self._down_pools = [layer for layer in network.down if isinstance(layer, DownPool)]
        self._up_pools = [layer for layer in network.up if isinstance(layer, UpPool)][::-1]

    def step(self, number: int, state: StageState, inputs: Any, below: jax.Array | int) -> tuple[StageState, Any, Any]:
        """One step of a stage.

        Args:
          number: the stage's.
          state: its state.
          inputs: of the samples of this step, (pool, ..., pool) of the stages above first.
          below: (B, H) what the stage below has made for this step; 0 for the centre.

        Returns:
          Its state, what it gives to the stage below, and the outputs.
        """
        stage = self._stages[number]
        above, x, outputs = self._input(number, state, inputs)
        h, down, s4 = _blocks(stage, self._constants[number], state.s4, x, below)
        if number == 0:
            above, outputs = self._choose(self._network.logits(h), inputs)
            return StageState(above, (), s4), down, outputs
        queue = jnp.swapaxes(self._up_pools[number - 1].spread(h[:, None]), 0, 1)
        return StageState(above, queue, s4), down, outputs

    def _input(self, number: int, state: StageState, inputs: Any) -> tuple[Any, jax.Array, Any]:
        """What a stage works on: the first embeds the last token, the others join what the one above gave."""
        if number == 0:
            return state.above, self._network.embed(state.above), None

        def one(above, each):
            above, down, outputs = self.step(number - 1, above, *each)
            return above, (down, outputs)

        above, (collected, outputs) = jax.lax.scan(one, state.above, (inputs, state.queue))
        return above, self._down_pools[number - 1](jnp.swapaxes(collected, 0, 1))[:, 0], outputs


def _blocks(
    stage: Stage, constants: tuple, states: tuple, x: jax.Array, below: jax.Array | int
) -> tuple[jax.Array, jax.Array, tuple]:
    """The stage's output, what it gives to the stage below, and the states; see `Backbone.stages`."""
    after = []

    def run(layer, h):
        if not isinstance(layer, S4Block):
            return layer(h)
        place = len(after)
        y, s4 = layer.s4.step(layer.norm(h), states[place], constants[place])
        after.append(s4)
        return h + y

    h, skips = x, [x]
    for layer in stage.down:
        h = run(layer, h)
        skips.append(h)
    down = h
    first = h = skips.pop() + below
    for layer in stage.up:
        h = run(layer, h)
        if skips:
            h = h + skips.pop()
    return h + first if stage.adds_input else h, down, tuple(after)


def stages_of(network: AutoregressiveSaShiMi) -> list[Stage]:
    """From the full rate to the centre."""
    down: list[list[Any]] = [[]]
    for layer in network.down:
        if isinstance(layer, DownPool):
            down.append([])
        else:
            down[-1].append(layer)
    up: list[list[Any]] = [list(network.center)]
    for layer in network.up:
        if isinstance(layer, UpPool):
            up.insert(0, [])
        else:
            up[0].append(layer)
    adds_input = [not network.config.unet] * len(network.config.pool) + [True]
    return [Stage(*each) for each in zip(down, up, adds_input, strict=True)]
