"""One training step as a pure, jitted function over a device mesh."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from diffwave_jax.models import weights
from diffwave_jax.models.compiling import compiler_options
from diffwave_jax.training.tasks import Batch, Constants, Metrics, Task

REPLICATED, SHARDED = PartitionSpec(), PartitionSpec("data")


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
) -> Callable[[TrainState, Batch, Constants], tuple[TrainState, Metrics]]:
    """The jitted step: (state, batch, constants) to (next state, metrics); the old state's memory is reused.

    The batch is sharded over the mesh's axis "data", everything else replicated, the task's constants too. Each device
    works on its own clips and talks to the others once, when gradients and metrics are added up. Randomness depends on
    the seed, the state's step and each clip's place in the global batch. To the task's metrics come the gradient's norm
    (before clipping) and "stop", above 0 once any process was asked to stop, which all of them thus learn at the same
    step.

    Args:
      task: what is trained.
      graph: its network's structure.
      optimizer: optax transformation.
      mesh: one axis, "data".
      seed: of the noise.
      accumulate: micro-batches whose gradients are averaged; must divide each device's share of the batch.
      ema_decay: of the weights' moving average, reached after a warm-up of its own; 0 for none.
    """

    def gradients(params, batch, constants, key):
        def loss(params, batch, key):
            return task.loss(weights.merge(graph, params), batch | constants, key)

        grads, metrics = _accumulated(jax.grad(loss, has_aux=True), params, batch, key, accumulate)
        metrics["stop"] = (jnp.sum(batch["stop"], dtype=jnp.float32), jnp.float32(1))
        grads, metrics = jax.lax.psum((grads, metrics), "data")
        return jax.tree.map(lambda g: g / (mesh.size * _share(metrics)), grads), metrics

    all_gradients = _over_devices(gradients, mesh, (REPLICATED, SHARDED, REPLICATED, REPLICATED))

    def step(state: TrainState, batch: Batch, constants: Constants) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        grads, metrics = all_gradients(state.params, batch, constants, key)
        updates, opt_state = optimizer.update(grads, state.optimizer, state.params)
        params = cast(weights.Weights, optax.apply_updates(state.params, updates))  # as nested as what it is given
        ema = _averaged(state, params, ema_decay)
        metrics["gradient_norm"] = (optax.tree.norm(grads), jnp.float32(1))
        return TrainState(state.step + 1, params, ema, opt_state), metrics

    replicated, sharded = shardings(mesh)
    return jax.jit(
        step,
        in_shardings=(replicated, sharded, replicated),
        out_shardings=replicated,
        donate_argnums=0,
        compiler_options=compiler_options(mesh),
    )


def _averaged(state: TrainState, params: weights.Weights, decay: float) -> weights.Weights | None:
    """The next moving average; over the whole past at first, so that the initial values do not linger in it."""
    if state.ema is None:
        return None
    share = jnp.maximum(1 - decay, 9 / (10 + state.step.astype(jnp.float32)))
    return cast(weights.Weights, optax.incremental_update(params, state.ema, share))


def make_validation(
    task: Task, graph: nnx.GraphDef, *, mesh: Mesh
) -> Callable[[weights.Weights, Batch, Constants], Metrics]:
    """The jitted validation: (params, batch, constants) to metrics, with the same noise every time."""

    def validate(params, batch, constants):
        metrics = task.validation_loss(weights.merge(graph, params), batch | constants, jax.random.key(0))[1]
        return jax.lax.psum(metrics, "data")

    replicated, sharded = shardings(mesh)
    all_metrics = _over_devices(validate, mesh, (REPLICATED, SHARDED, REPLICATED))
    return jax.jit(
        all_metrics,
        in_shardings=(replicated, sharded, replicated),
        out_shardings=replicated,
        compiler_options=compiler_options(mesh),
    )


def _over_devices(function: Callable, mesh: Mesh, in_specs: tuple) -> Callable:
    """`function` on every device with its own part of the sharded arguments; its results are the same everywhere."""
    # Unchecked: with checks, differentiation would add up the gradients in each micro-batch instead of once.
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=REPLICATED, check_vma=False)


def shardings(mesh: Mesh) -> tuple[NamedSharding, NamedSharding]:
    """Replicated, and sharded by the leading axis over the mesh's axis "data"."""
    return NamedSharding(mesh, REPLICATED), NamedSharding(mesh, SHARDED)


def _share(metrics: Metrics) -> jax.Array | int:
    """The share of targets that count, see `Task.loss`."""
    if "counted" not in metrics:
        return 1
    counted, total = metrics["counted"]
    return jnp.maximum(counted, 1) / total  # not 0, lest the gradient be 0 / 0


def _accumulated(grad, params, batch, key, accumulate):
    """Mean gradient and summed metrics over `accumulate` micro-batches, one at a time."""
    if accumulate == 1:
        return grad(params, batch, key)

    def body(total, micro):
        return jax.tree.map(jnp.add, total, grad(params, micro, key)), None

    micros = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)
    first = jax.tree.map(lambda x: x[0], micros)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(grad, params, first, key))
    (grads, metrics), _ = jax.lax.scan(body, zeros, micros)
    return jax.tree.map(lambda g: g / accumulate, grads), metrics
