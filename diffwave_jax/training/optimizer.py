"""Adam with the learning-rate schedules, groups of weights and gradient clipping of the recipes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.training import plateau

STATE = ("log_dt", "log_w_real", "w_imag", "w", "B", "P", "Q")  # what an S4 kernel's state space is made of, without C
INNER = ("down.", "center.", "up.")  # SaShiMi's stages


def learning_rate(train: ConfigDict) -> optax.Schedule:
    """Learning rate as a function of the number of steps done.

    "constant"; "drop", constant with one drop, as the released SaShiMi; "cosine", to 0 at the last step; "decay",
    constant but for the last `decay_steps`, which lead linearly to 0: until those begin, a run may be made longer;
    "plateau", constant here, see `diffwave_jax.training.plateau`.
    Each starts with a linear warm-up of `warmup_steps`.

    Args:
      train: a config's `train` section.

    Raises:
      UserError: there is no such schedule.
    """
    peak, warmup = train.learning_rate, train.warmup_steps
    if train.schedule in ("constant", "plateau"):
        after = optax.constant_schedule(peak)
    elif train.schedule == "drop":
        after = optax.piecewise_constant_schedule(peak, {train.drop_step - warmup: train.drop_factor})
    elif train.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(train.num_steps - warmup, 1))
    elif train.schedule == "decay":
        begin = max(train.num_steps - warmup - train.decay_steps, 0)
        after = optax.linear_schedule(peak, 0.0, train.num_steps - warmup - begin, transition_begin=begin)
    else:
        raise UserError(f"train.schedule must be constant, drop, cosine, decay or plateau, got {train.schedule!r}")
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def make_optimizer(train: ConfigDict) -> optax.GradientTransformation:
    """Adam (PyTorch's defaults) behind global-norm clipping; AdamW with `train.weight_decay`.

    Its state is that of Adam and of the schedule, and with the schedule "plateau" that of the plateau.
    """
    _check(train)
    clip = optax.clip_by_global_norm(train.clip_norm) if train.clip_norm else optax.identity()
    parts = [_scale_by_adam(train), optax.scale_by_learning_rate(learning_rate(train))]
    if train.schedule == "plateau":
        parts.append(plateau.scale_by_plateau())
    return optax.chain(clip, optax.chain(*parts))


def _scale_by_adam(train: ConfigDict) -> optax.GradientTransformation:
    """Adam, with decay and the rate of state spaces where they are asked for: neither has a state of its own."""
    adam, decay, rate = optax.scale_by_adam(), train.weight_decay, train.state_learning_rate
    ratio = 1.0 if rate is None else rate / train.learning_rate
    if not decay and ratio == 1:
        return adam

    def changed(name: str, update: jax.Array, weight: jax.Array) -> jax.Array:
        update = update + decay * weight if decay and decays(name) else update
        return ratio * update if is_state(name) else update

    def update(updates: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        updates, state = adam.update(updates, state, params)
        return {name: changed(name, value, params[name]) for name, value in updates.items()}, state  # pyright: ignore

    return optax.GradientTransformation(adam.init, update)


def _check(train: ConfigDict) -> None:
    if train.schedule == "plateau" and not train.validate_every:
        raise UserError("train.schedule is plateau, but train.validate_every is 0: set the steps between validations")
    if train.state_learning_rate is not None and not train.learning_rate:
        raise UserError(
            f"train.state_learning_rate is {train.state_learning_rate}, but train.learning_rate is 0: leave it out"
        )


def is_state(name: str) -> bool:
    """Whether a weight is part of an S4 layer's state space: dt, A, B, P or Q; C and D are not."""
    module, _, last = name.rpartition(".")
    return module.endswith(".kernel") and last in STATE


def decays(name: str) -> bool:
    """Whether a weight decays as in state-spaces/s4: not state spaces, nor biases and norms inside the stages."""
    inner = name.startswith(INNER) and name.rpartition(".")[2] in ("bias", "scale", "shift")
    return not (is_state(name) or inner)


def resumed_adam(train: ConfigDict, params: Mapping, mu: Mapping, nu: Mapping, count: int) -> optax.OptState:
    """The state of `make_optimizer` after `count` steps with these first and second moments, {dotted name: array}."""
    state = jax.eval_shape(make_optimizer(train).init, params)
    moments = {"count": jnp.asarray(count, jnp.int32), "mu": dict(mu), "nu": dict(nu)}
    state = _replaced(state, plateau.PlateauState, plateau.initial()._asdict())
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
