"""One training step as a pure, jitted function over a device mesh."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diffwave_jax.models import weights
from diffwave_jax.training.tasks import Batch, Metrics, Task


class TrainState(NamedTuple):
    """All that training changes.

    Attributes:
      step: int32 scalar, steps done.
      params: {dotted name: array}, the raw weights.
      ema: their exponential moving average, or None.
      optimizer: the optax state.
    """

    step: jax.Array
    params: weights.Weights
    ema: weights.Weights | None
    optimizer: Any


def init_state(params: weights.Weights, optimizer: optax.GradientTransformation, ema_decay: float) -> TrainState:
    """The state before the first step."""
    ema = jax.tree.map(jnp.copy, params) if ema_decay else None
    return TrainState(jnp.zeros((), jnp.int32), params, ema, optimizer.init(params))


def make_train_step(
    task: Task,
    graph: nnx.GraphDef,
    optimizer: optax.GradientTransformation,
    *,
    mesh: Mesh,
    seed: int,
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The jitted step: (state, batch) to (next state, metrics); the old state's memory is reused.

    The batch is sharded over the mesh's axis "data", everything else replicated; XLA adds the one all-reduce of the
    gradients. Randomness depends on the seed, the state's step and each clip's place in the global batch.

    Args:
      task: what is trained.
      graph: its network's structure.
      optimizer: optax transformation.
      mesh: one axis, "data".
      seed: of the noise.
      accumulate: micro-batches whose gradients are averaged; must divide each device's share of the batch.
      ema_decay: of the weights' moving average; 0 for none.
    """

    def loss(params, batch, key):
        return task.loss(weights.merge(graph, params), batch, key)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, metrics = _accumulated(jax.grad(loss, has_aux=True), state.params, batch, key, accumulate)
        updates, opt_state = optimizer.update(grads, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = optax.incremental_update(params, state.ema, 1 - ema_decay) if state.ema is not None else None
        metrics["gradient_norm"] = (optax.global_norm(grads), jnp.float32(1))
        return TrainState(state.step + 1, params, ema, opt_state), metrics

    replicated, sharded = shardings(mesh)
    return jax.jit(step, in_shardings=(replicated, sharded), out_shardings=replicated, donate_argnums=0)


def make_validation(task: Task, graph: nnx.GraphDef, *, mesh: Mesh) -> Callable[[weights.Weights, Batch], Metrics]:
    """The jitted validation: (params, batch) to metrics, with the same noise every time."""

    def validate(params, batch):
        return task.validation_loss(weights.merge(graph, params), batch, jax.random.key(0))[1]

    replicated, sharded = shardings(mesh)
    return jax.jit(validate, in_shardings=(replicated, sharded), out_shardings=replicated)


def shardings(mesh: Mesh) -> tuple[NamedSharding, NamedSharding]:
    """Replicated, and sharded by the leading axis over the mesh's axis "data"."""
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))


def _accumulated(grad, params, batch, key, accumulate):
    """Mean gradient and summed metrics over `accumulate` micro-batches, one at a time."""
    if accumulate == 1:
        return grad(params, batch, key)

    def body(total, micro):
        return jax.tree.map(jnp.add, total, grad(params, micro, key)), None

    # Micro-batch k takes every accumulate-th clip, so each device keeps working on the clips it holds.
    micros = jax.tree.map(lambda x: x.reshape(-1, accumulate, *x.shape[1:]).swapaxes(0, 1), batch)
    first = jax.tree.map(lambda x: x[0], micros)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(grad, params, first, key))
    (grads, metrics), _ = jax.lax.scan(body, zeros, micros)
    return jax.tree.map(lambda g: g / accumulate, grads), metrics
