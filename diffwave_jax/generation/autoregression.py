"""Many streams of samples, each drawn from what the network makes of those before it: one compiled program.

All randomness of a stream comes from its own key, `fold_in(seed, index)`, and from how far it is.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float32, Int32, Key, UInt32

from diffwave_jax.generation.drawing import Sharpness, draw, log_probability
from diffwave_jax.jax_settings import standard_jax
from diffwave_jax.models import stepping, weights
from diffwave_jax.models.compiling import compiler_options
from diffwave_jax.models.stepping import Constants, StageState

DRAWN = -1  # in place of a given token: it is drawn


class Steps(NamedTuple):
    """T samples of B streams, samples first.

    Attributes:
      tokens: (T, B) int32.
      log_probability: (T, B) float32, ln of the probability that the network gave each, before any sharpening.
    """

    tokens: Int32[Array | np.ndarray, "samples streams"]
    log_probability: Float32[Array | np.ndarray, "samples streams"]


@runtime_checkable
class Stepper(Protocol):
    """A network's recurrence for many streams; `Autoregression` says what its methods do.

    Attributes:
      num_devices: the streams of a batch are a multiple of it.
      compiled_by_size: another number of streams takes another program.
    """

    @property
    def num_devices(self) -> int: ...  # noqa: D102

    compiled_by_size: bool

    def start(self, streams: int) -> Any: ...  # noqa: D102

    def run(  # noqa: D102
        self, state: Any, given: np.ndarray, uniforms: jax.Array, sharpness: Sharpness | None = None
    ) -> tuple[Any, Steps]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """What a stream needs of a network.

    Attributes:
      graph: its structure.
      params: its weights.
      constants: of its recurrences.
    """

    graph: nnx.GraphDef
    params: weights.Weights
    constants: Constants


class Autoregression:
    """A network's recurrence over one or more devices, compiled once per number of streams and samples.

    Args:
      network: the network.
      devices: those to spread the streams over; every device runs the same program on its share.
    """

    compiled_by_size = True  # another number of streams is another program

    def __init__(self, network: Network, devices: list[jax.Device]):  # pyright: ignore[reportInvalidTypeForm] - a variable in JAX
        self._mesh = Mesh(np.array(devices), ("streams",))
        self._graph = network.graph
        self._shared = jax.device_put((network.params, network.constants), NamedSharding(self._mesh, P()))
        self._compiled: dict[tuple, Callable] = {}

    @property
    def num_devices(self) -> int:
        """Devices the streams are spread over; their number must be a multiple of it."""
        return self._mesh.size

    @standard_jax()
    def start(self, streams: int) -> StageState:
        """The state before the first sample."""
        params, constants = self._shared
        return stepping.initial_state(weights.merge(self._graph, params), constants, streams)

    @standard_jax()
    def run(
        self,
        state: StageState,
        given: Int32[np.ndarray, "samples streams"],
        uniforms: Float32[Array, "samples streams"],
        sharpness: Sharpness | None = None,
    ) -> tuple[StageState, Steps]:
        """The next T samples of every stream: the state after them, from which they go on, and what they are.

        Args:
          state: of B streams; consumed.
          given: (T, B) int32, the tokens that are known, `DRAWN` for the others; T a multiple of the period.
          uniforms: (T, B) float32 in [0, 1), what tokens are drawn by.
          sharpness: None to draw from the network's own distribution.
        """
        program = self._program(given.shape, sharpness is not None)
        streams = jax.device_put((given, uniforms), NamedSharding(self._mesh, P(None, "streams")))
        return program(self._shared, self._placed(state), *streams, sharpness)

    def _placed(self, state: StageState) -> StageState:
        return jax.tree.map(
            lambda leaf, spec: jax.device_put(leaf, NamedSharding(self._mesh, spec)), state, _specs(state)
        )

    def _program(self, shape: tuple[int, int], sharpened: bool) -> Callable:
        if (shape, sharpened) not in self._compiled:
            state = jax.eval_shape(lambda: self.start(shape[1]))
            self._compiled[shape, sharpened] = program(self._mesh, self._graph, state)
        return self._compiled[shape, sharpened]


def program(mesh: Mesh, graph: nnx.GraphDef, state: StageState) -> Callable:
    """Jitted: from `(weights, constants), state, given, uniforms, sharpness` to the state after them and `Steps`.

    Args:
      mesh: the devices, along the axis "streams".
      graph: the network's structure.
      state: one such as it will get, or its shapes.
    """
    specs, samples = _specs(state), P(None, "streams")
    sharded = jax.shard_map(
        partial(_advance, graph),
        mesh=mesh,
        in_specs=(P(), specs, samples, samples, P()),
        out_specs=(specs, samples),
        check_vma=False,
    )
    return jax.jit(sharded, donate_argnums=1, compiler_options=compiler_options(mesh))


def _specs(state: StageState) -> StageState:
    """Which axis of the state counts the streams: the second, but of the last tokens."""
    return jax.tree.map(lambda leaf: P("streams") if leaf.ndim == 1 else P(None, "streams"), state)


def _advance(graph: nnx.GraphDef, shared, state, given, uniforms, sharpness) -> tuple[StageState, Steps]:
    params, constants = shared

    def choose(logits: jax.Array, inputs: tuple) -> tuple[jax.Array, Steps]:
        given, uniform = inputs
        tokens = jnp.where(given == DRAWN, draw(logits, uniform, sharpness), given)
        return tokens, Steps(tokens, log_probability(logits, tokens))

    return stepping.advance(weights.merge(graph, params), constants, state, choose, (given, uniforms))


@standard_jax()
@partial(jax.jit, static_argnames=("periods", "period"))
def uniforms(
    keys: Key[Array, " streams"], start: UInt32[Array, ""], *, periods: int, period: int
) -> Float32[Array, "{periods}*{period} streams"]:
    """(periods * period, B) uniform numbers for streams of these keys (B,), from their period number `start` on."""

    def one(key, number):
        return jax.random.uniform(jax.random.fold_in(key, number), (period,))

    numbers = start + jnp.arange(periods, dtype=jnp.uint32)
    drawn = jax.vmap(lambda number: jax.vmap(lambda key: one(key, number))(keys))(numbers)  # (periods, B, period)
    return jnp.swapaxes(drawn, 1, 2).reshape(periods * period, -1)
