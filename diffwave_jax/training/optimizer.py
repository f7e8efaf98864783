"""Adam with the learning-rate schedules and gradient clipping of the recipes."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError


def learning_rate(train: ConfigDict) -> optax.Schedule:
    """Learning rate as a function of the number of steps done.

    "constant"; "drop", constant with one drop, as the released SaShiMi; "cosine", to 0 at the last step; "decay",
    constant but for the last `decay_steps`, which lead linearly to 0: until those begin, a run may be made longer.
    Each starts with a linear warm-up of `warmup_steps`.

    Args:
      train: a config's `train` section.

    Raises:
      UserError: there is no such schedule.
    """
    peak, warmup = train.learning_rate, train.warmup_steps
    if train.schedule == "constant":
        after = optax.constant_schedule(peak)
    elif train.schedule == "drop":
        after = optax.piecewise_constant_schedule(peak, {train.drop_step - warmup: train.drop_factor})
    elif train.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(train.num_steps - warmup, 1))
    elif train.schedule == "decay":
        begin = max(train.num_steps - warmup - train.decay_steps, 0)
        after = optax.linear_schedule(peak, 0.0, train.num_steps - warmup - begin, transition_begin=begin)
    else:
        raise UserError(f"train.schedule must be constant, drop, cosine or decay, got {train.schedule!r}")
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(train: ConfigDict) -> optax.GradientTransformation:
    """Adam (PyTorch's defaults) behind global-norm clipping."""
    clip = optax.clip_by_global_norm(train.clip_norm) if train.clip_norm else optax.identity()
    return optax.chain(clip, optax.adam(learning_rate(train)))


def resumed_adam(train: ConfigDict, params: Mapping, mu: Mapping, nu: Mapping, count: int) -> optax.OptState:
    """The state of `make_optimizer` after `count` steps with these first and second moments, {dotted name: array}."""
    state = jax.eval_shape(make_optimizer(train).init, params)
    moments = {"count": jnp.asarray(count, jnp.int32), "mu": dict(mu), "nu": dict(nu)}
    return _with_step(_replaced(state, optax.ScaleByAdamState, moments), count)


def fresh_adam(train: ConfigDict, params: Mapping, step: int) -> optax.OptState:
    """The state of `make_optimizer` without moments yet, its learning rate that of a run after `step` steps."""
    return _with_step(make_optimizer(train).init(params), step)


def _with_step(state: optax.OptState, step: int) -> optax.OptState:
    return _replaced(state, optax.ScaleByScheduleState, {"count": jnp.asarray(step, jnp.int32)})


def _replaced(state: optax.OptState, part: type, fields: dict) -> optax.OptState:
    """`state` with these fields in its part of that type."""

    def replace(leaf):
        return leaf._replace(**fields) if isinstance(leaf, part) else leaf

    return jax.tree.map(replace, state, is_leaf=lambda leaf: isinstance(leaf, part))
