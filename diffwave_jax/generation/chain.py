"""The chain from noise to audio as one compiled program, the same for every sampler and number of steps.

All randomness of a clip comes from its own key, `fold_in(seed, index)`: the clip does not depend on the batch it is
made in, on the devices or on which clips were made before.
"""

import dataclasses
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float32, Int, Integer, Key

from diffwave_jax.diffusion import noise_in
from diffwave_jax.doing import doing
from diffwave_jax.generation import samplers
from diffwave_jax.generation.samplers import ChainState, SamplerTable
from diffwave_jax.generation.tiles import Tiling, tiled
from diffwave_jax.jax_settings import standard_jax
from diffwave_jax.models import weights
from diffwave_jax.models.compiling import compiler_options
from diffwave_jax.models.conditioner import Condition

# What a clip's key is folded with: for its start noise; step i of the table uses i + 1; and for noise before the chain.
START, BEFORE = 0, 2**32 - 1


class Conditions(NamedTuple):
    """The clips of a batch.

    Attributes:
      keys: (B,) random keys, one a clip.
      labels: (B,) see `diffwave_jax.models.labels`; None if the network is unconditional.
      condition: what a vocoder listens to, see `Chain.condition`; None for other networks.
    """

    keys: Key[Array, " batch"]
    labels: Int[Array, " batch"] | None
    condition: Condition | None = None


@standard_jax()
def clip_keys(seed: int, indices: Integer[np.ndarray, " batch"]) -> Key[Array, " batch"]:
    """(B,) keys: clip `index` of `seed`, whatever else is made."""
    return jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.asarray(indices, jnp.uint32))


@standard_jax()
@partial(jax.jit, static_argnames=("length", "purpose"))
def start_noise(keys: Key[Array, " batch"], length: int, purpose: int = START) -> Float32[Array, "batch {length}"]:
    """(B, length) standard normal: each clip's z, or with `purpose` BEFORE other noise; shorter is the same, cut."""
    return _normal(keys, purpose, length)


def _normal(keys: jax.Array, purpose: int | jax.Array, length: int) -> jax.Array:
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, purpose), (length,)))(keys)


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """What a chain needs of a network.

    Attributes:
      graph: its structure.
      params: its weights.
      filters: the S4 layers' filter spectra, which all steps share.
      n_labels: number of its labels, which is also the label that means "none"; 0 if it is unconditional.
      prediction: what its output stands for, one of `diffwave_jax.diffusion.PREDICTIONS`.
      n_mels: mel bands of a vocoder; 0 for other networks.
      hop: samples of audio for each mel frame.
      tiling: how clips longer than a tile are computed; None for whole.
      weaker: filter spectra of the prediction that guidance leads away from; None for those of the network itself.
    """

    graph: nnx.GraphDef
    params: dict[str, jax.Array]
    filters: tuple
    n_labels: int = 0
    prediction: str = "noise"
    n_mels: int = 0
    hop: int = 1
    tiling: Tiling | None = None
    weaker: tuple | None = None

    def tiling_for(self, length: int) -> Tiling | None:
        """How clips of `length` samples are cut; None if they are computed as a whole."""
        return self.tiling if self.tiling is not None and length > self.tiling.frames * self.hop else None


class Chain:
    """A network's reverse process over one or more devices, compiled once per batch size.

    Args:
      network: the network.
      num_steps: T, the most steps a chain can have.
      devices: those to spread a batch over; every device runs the same program on its share.
    """

    def __init__(self, network: Network, num_steps: int, devices: list[jax.Device]):  # pyright: ignore[reportInvalidTypeForm] - a variable in JAX
        self._mesh = Mesh(np.array(devices), ("clips",))
        self._network = network
        self._rows = num_steps + 1  # the last one to polish
        shared = network.params, network.filters, network.weaker
        self._shared = jax.device_put(shared, NamedSharding(self._mesh, P()))
        self._compiled: dict[tuple, Callable] = {}

    @property
    def num_devices(self) -> int:
        """Devices a batch is spread over; a batch size must be a multiple of it."""
        return self._mesh.size

    @standard_jax()
    def run(self, table: SamplerTable, state: ChainState, clips: Conditions, rows: range | None = None) -> ChainState:
        """The rows of `table` in turn (all of them if `rows` is None), applied to a batch.

        Guidance leads away from what the network predicts without a label (classifier-free, Ho and Salimans, arXiv
        2207.12598), and with its weaker filters if it has any (Karras et al., arXiv 2406.02507). A row of scale 1 is
        the plain prediction and costs one evaluation of the network; one of any other scale costs two.

        Args:
          table: a sampler's weights, S rows, S <= num_steps + 1.
          state: x and x0 (B, L); consumed.
          clips: B clips.
          rows: which rows, a range of step 1.
        """
        rows = range(len(table.timestep)) if rows is None else rows
        state, clips = jax.device_put((state, clips), NamedSharding(self._mesh, P("clips")))
        twice = self.guided(table, clips.labels)
        for guided, part in itertools.groupby(rows, lambda row: twice[row]):
            part = list(part)
            bounds = jnp.asarray([part[0], part[-1] + 1], jnp.int32)
            program = self._program((len(state.x), state.x.shape[1]), guided=bool(guided))
            state = program(self._shared, self._padded(table), state, clips, bounds)
        return state

    def guided(self, table: SamplerTable, labels: Any | None) -> Bool[np.ndarray, " rows"]:
        """Which rows are run by the program that can ask the network twice.

        With weaker filters it asks once where a row is not guided, so that one program is compiled for all rows.
        """
        rows = guided_rows(table, labels, self._network.weaker)
        return rows if self._network.weaker is None else np.full_like(rows, rows.any())

    @standard_jax()
    def condition(self, condition: Condition, length: int) -> Condition:
        """What depends on the mels (B, F, M) alone, for clips of `length` samples: once for all steps.

        Tiles compute theirs anew each step: over long clips it would take far more memory than all else.
        """
        if self._network.tiling_for(length):
            return condition
        return _prepare(self._network.graph, length, self._shared[0], condition)

    @standard_jax()
    def memory(self, batch: int, length: int, *, guided: bool) -> int:
        """Bytes that each device needs for a batch beyond the weights, as XLA plans it."""
        plan = self._program((batch, length), guided=guided).memory_analysis()
        return plan.temp_size_in_bytes + plan.output_size_in_bytes

    def _padded(self, table: SamplerTable) -> SamplerTable:
        """The table in float32 with as many rows as one can have, so that the program is always the same."""
        missing = self._rows - len(table.timestep)
        return SamplerTable(*(np.pad(column, (0, missing)).astype(np.float32) for column in table))

    def _program(self, shape: tuple[int, int], *, guided: bool) -> Callable:
        if (shape, guided) not in self._compiled:
            doing("compiling")
            specs = (P(), P(), P("clips"), P("clips"), P())

            def body(*arguments):  # no `partial`, which JAX would print, weights and all, to name it
                return walk(self._network, guided, *arguments)

            sharded = jax.shard_map(body, mesh=self._mesh, in_specs=specs, out_specs=P("clips"), check_vma=False)
            program = jax.jit(sharded, donate_argnums=2).lower(*self._abstract_arguments(shape))
            self._compiled[shape, guided] = program.compile(compiler_options=compiler_options(self._mesh))
        return self._compiled[shape, guided]

    def _abstract_arguments(self, shape: tuple[int, int]) -> tuple:
        def array(shape, dtype, spec) -> Any:  # stands for an array where one is expected
            return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(self._mesh, spec))

        audio = array(shape, jnp.float32, P("clips"))
        keys = array(shape[:1], jax.random.key(0).dtype, P("clips"))
        labels = array(shape[:1], jnp.int32, P("clips")) if self._network.n_labels else None
        condition = None
        if self._network.n_mels:
            mel = jnp.zeros((shape[0], shape[1] // self._network.hop, self._network.n_mels))
            frames = jnp.zeros(shape[0], jnp.int32)
            prepared = jax.eval_shape(partial(self.condition, length=shape[1]), Condition(mel, frames))
            condition = jax.tree.map(lambda leaf: array(leaf.shape, leaf.dtype, P("clips")), prepared)
        table = SamplerTable(*(array((self._rows,), jnp.float32, P()) for _ in SamplerTable._fields))
        shared = jax.tree.map(lambda leaf: array(leaf.shape, leaf.dtype, P()), self._shared)
        bounds = array((2,), jnp.int32, P())
        return shared, table, ChainState(audio, audio), Conditions(keys, labels, condition), bounds


@partial(jax.jit, static_argnums=(0, 1))
def _prepare(graph: nnx.GraphDef, length: int, params: dict, condition: Condition) -> Condition:
    return weights.merge(graph, params).condition(condition, length)


def guided_rows(table: SamplerTable, labels: Any | None, weaker: tuple | None) -> Bool[np.ndarray, " rows"]:
    """Which rows of a table ask the network twice, for clips with these labels and a guide with these filters.

    Where there are neither (None), the guide would be the network itself.
    """
    return np.logical_and(np.asarray(table.guidance) != 1, labels is not None or weaker is not None)


def walk(
    network: Network,
    guided: bool,
    shared: tuple,
    table: SamplerTable,
    state: ChainState,
    clips: Conditions,
    bounds: Any,
) -> ChainState:
    """Rows bounds[0] to bounds[1] - 1 of a table, inside a compiled program.

    Args:
      network: the network, whose weights and filters are left aside: `shared` has them.
      guided: whether the rows' guidance counts.
      shared: weights, filters, and the weaker ones or None.
      table: float32.
      state: x and x0 (B, L).
      clips: B clips, their condition as `Chain.condition` gives it.
      bounds: two whole numbers, or an int32 array (2,).
    """
    params, filters, weaker = shared

    def predict(x, row, labels, filters=filters):
        if clips.condition is None:
            return call(x, row, labels, filters)
        tiling = network.tiling_for(x.shape[1])
        if tiling is None:
            return call(x, row, labels, filters, condition=clips.condition)
        return tiled(partial(call_tile, row), x, clips.condition, tiling, network.hop)

    def call(x, row, labels, filters, **condition):
        t = jnp.broadcast_to(row.timestep, x.shape[:1])
        return weights.merge(network.graph, params)(x, t, labels, filters=filters, **condition)

    def call_tile(row, x, condition):
        condition = weights.merge(network.graph, params).condition(condition, x.shape[1])
        return call(x, row, None, filters, condition=condition)

    def predict_guided(x, row, labels):
        strong, weak = both(x, row, labels)
        return weak + row.guidance * (strong - weak)

    def both(x, row, labels):
        nobody = None if labels is None else jnp.full_like(labels, network.n_labels)
        if weaker is None:
            labels = jax.tree.map(lambda *two: jnp.concatenate(two), labels, nobody)
            return predict(jnp.concatenate([x, x]), row, labels).reshape(2, *x.shape)
        # The program holds the network once, and runs it once or twice: twice the network would take twice as long to
        # compile. What is not asked for stays 0, which a scale of 1 leaves out.
        pairs = jax.tree.map(lambda *two: jnp.stack(two), (labels, filters), (nobody, weaker))
        times = jnp.where(row.guidance == 1, 1, 2)

        def ask(k, outputs):
            one = jax.tree.map(lambda leaf: leaf[k], pairs)
            return outputs.at[k].set(predict(x, row, *one))

        return jax.lax.fori_loop(0, times, ask, jnp.zeros((2, *x.shape), x.dtype))

    def body(i, state):
        row = jax.tree.map(lambda column: column[i], table)
        output = (predict_guided if guided else predict)(state.x, row, clips.labels)
        predicted = noise_in(network.prediction, output, state.x, row.signal, row.noise_level)
        return samplers.step(row, state, predicted, _normal(clips.keys, i + 1, state.x.shape[-1]))

    return jax.lax.fori_loop(bounds[0], bounds[1], body, state)
