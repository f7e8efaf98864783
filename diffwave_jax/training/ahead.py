"""The training step compiled ahead of time, for devices that may not be there: what it will need and say."""

import re
from collections import Counter
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from diffwave_jax.models import weights
from diffwave_jax.training.optimizer import make_optimizer
from diffwave_jax.training.step import init_state, make_train_step, shardings
from diffwave_jax.training.tasks import make_task

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "f64": 8, "c64": 8}


def compile_step(config: ConfigDict, mesh: Mesh, platforms: Sequence[str] | None = None) -> jax.stages.Compiled:
    """The step of a run with this config, compiled but not run.

    Args:
      config: the run's config; `train.batch_size` is over all devices.
      mesh: one axis, "data"; its devices may be compile-only ones (`jax.experimental.topologies`).
      platforms: what to lower for if it is not the default backend: ("cuda",) or ("tpu",).
    """
    task, optimizer, train = make_task(config), make_optimizer(config.train), config.train
    graph, params = weights.abstract(lambda: task.build(nnx.Rngs(config.seed)))
    fields = {"mesh": mesh, "seed": config.seed, "accumulate": train.accumulate, "ema_decay": train.ema_decay}
    step = make_train_step(task, graph, optimizer, **fields)
    state = jax.eval_shape(lambda p: init_state(p, optimizer, train.ema_decay), params)
    replicated, sharded = shardings(mesh)
    arguments = _placed(state, replicated), _placed(_batch(config), sharded)
    return step.trace(*arguments).lower(lowering_platforms=platforms).compile()


def collectives(program: str) -> dict[str, int]:
    """Bytes that a compiled program's text sends through each kind of collective operation, once through."""
    found = Counter()
    # An asynchronous operation is a start, whose result holds operands as well, and a done with the bare result.
    for shapes, operation in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-done)?\(", program):
        found[operation] += _bytes(shapes)
    return dict(found)


def _bytes(shapes: str) -> int:
    total = 0
    for dtype, dimensions in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
        size = BYTES[dtype]
        for dimension in filter(None, dimensions.split(",")):
            size *= int(dimension)
        total += size
    return total


def _batch(config: ConfigDict) -> dict[str, jax.ShapeDtypeStruct]:
    size = config.train.batch_size
    scalars = {"label": jnp.int32, "index": jnp.int32, "stop": jnp.bool_}
    batch = {name: jax.ShapeDtypeStruct((size,), dtype) for name, dtype in scalars.items()}
    return {**batch, "audio": jax.ShapeDtypeStruct((size, config.data.length), jnp.float32)}


def _placed(tree, sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
