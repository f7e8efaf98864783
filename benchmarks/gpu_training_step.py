"""The whole training step of SaShiMi, compiled for a card that is not there."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.gpu_compiler import Card, Compiled, compile_on, mesh
from diffwave_jax.config import default_config, model_section
from diffwave_jax.models import weights
from diffwave_jax.training.optimizer import make_optimizer
from diffwave_jax.training.step import init_state, make_train_step, shardings
from diffwave_jax.training.tasks import make_task


def compile_step(card: Card, batch_size: int, **model) -> Compiled:
    """The full-size network unless the fields of its config, `model`, say otherwise."""
    config = default_config()
    config.model = model_section("sashimi", **model)
    task, optimizer = make_task(config), make_optimizer(config.train)
    graph, shapes = weights.abstract(lambda: task.build(nnx.Rngs(0)))
    devices = mesh(card)
    options = {"accumulate": config.train.accumulate, "ema_decay": config.train.ema_decay}
    step = make_train_step(task, graph, optimizer, mesh=devices, seed=0, **options)
    state = jax.eval_shape(partial(init_state, optimizer=optimizer, ema_decay=config.train.ema_decay), shapes)
    replicated, sharded = shardings(devices)
    return compile_on(card, step, _placed(state, replicated), _placed(_batch(batch_size, config.data.length), sharded))


def _batch(size: int, length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """What `diffwave_jax.training.tasks.Task` says a batch holds."""
    batch = {name: jax.ShapeDtypeStruct((size,), jnp.int32) for name in ("label", "index")}
    batch["stop"] = jax.ShapeDtypeStruct((size,), jnp.bool_)
    return batch | {"audio": jax.ShapeDtypeStruct((size, length), jnp.float32)}


def _placed(tree, sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
