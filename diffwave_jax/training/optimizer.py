"""Adam and Muon with the learning-rate schedules, groups of weights and gradient clipping of the recipes."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from diffwave_jax.errors import UserError
from diffwave_jax.training import plateau

STATE = ("log_dt", "log_w_real", "w_imag", "w", "B", "P", "Q")  # what an S4 kernel's state space is made of, without C
INNER = ("down.", "center.", "up.")  # SaShiMi's stages
MUON_RMS = 0.2  # of an update by Muon at a rate of 1, about that of Adam's (Liu et al., arXiv 2502.16982, section 2.2)


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

    With `train.muon_learning_rate` the matrices inside the network are updated by Muon (Jordan et al. 2024), all other
    weights by Adam. Its state is that of Adam, of Muon and of the schedule, and with the schedule "plateau" that of the
    plateau.
    """
    _check(train)
    clip = optax.clip_by_global_norm(train.clip_norm) if train.clip_norm else optax.identity()
    parts = [_at_own_rates(_directions(train), train), optax.scale_by_learning_rate(learning_rate(train))]
    if train.schedule == "plateau":
        parts.append(plateau.scale_by_plateau())
    return optax.chain(clip, optax.chain(*parts))


def _directions(train: ConfigDict) -> optax.GradientTransformation:
    """Each weight's direction by its own optimiser, of about the same size by both."""
    if train.muon_learning_rate is None:
        return optax.scale_by_adam()
    directions = scale_by_muon(weight_dimension_numbers=_rows_and_columns)  # pyright: ignore[reportArgumentType] - takes dicts too
    muon = optax.chain(directions, optax.stateless(_sized))
    return optax.partition({"muon": muon, "adam": optax.scale_by_adam()}, _optimizers)


def _optimizers(weights: Mapping[str, Any]) -> dict[str, str]:
    return {name: "muon" if is_inner_matrix(name, weight.shape) else "adam" for name, weight in weights.items()}


def _rows_and_columns(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Of each weight that Muon sees: outputs are the last axis, as in all of our layers."""

    def axes(weight: jax.Array) -> MuonDimensionNumbers:
        *reduced, output = range(weight.ndim)
        return MuonDimensionNumbers(tuple(reduced), output)

    return jax.tree.map(axes, dict(weights))


def _sized(updates: Any, _: Any = None) -> Any:
    """Orthogonal matrices with an RMS of `MUON_RMS` instead of 1 / sqrt(the longer side)."""
    return jax.tree.map(lambda u: MUON_RMS * max(u.size // u.shape[-1], u.shape[-1]) ** 0.5 * u, updates)


def _at_own_rates(optimizer: optax.GradientTransformation, train: ConfigDict) -> optax.GradientTransformation:
    """With decay, and the rates of groups over `train.learning_rate`, where they are asked for: without a state."""
    decay, of_states, of_muon = train.weight_decay, train.state_learning_rate, train.muon_learning_rate
    if not decay and of_states is None and of_muon is None:
        return optimizer

    def ratio(name: str, weight: jax.Array) -> float:
        own = of_states if is_state(name) else of_muon if is_inner_matrix(name, weight.shape) else None
        return 1.0 if own is None else own / train.learning_rate

    def changed(name: str, update: jax.Array, weight: jax.Array) -> jax.Array:
        update = update + decay * weight if decay and decays(name) else update
        return ratio(name, weight) * update

    def update(updates: Any, state: optax.OptState, params: Any = None) -> tuple[Any, optax.OptState]:
        updates, state = optimizer.update(updates, state, params)
        return {name: changed(name, value, params[name]) for name, value in updates.items()}, state  # pyright: ignore

    return optax.GradientTransformation(optimizer.init, update)


def _check(train: ConfigDict) -> None:
    if train.schedule == "plateau" and not train.validate_every:
        raise UserError("train.schedule is plateau, but train.validate_every is 0: set the steps between validations")
    for name in ("state_learning_rate", "muon_learning_rate"):
        if train[name] is not None and not train.learning_rate:
            raise UserError(f"train.{name} is {train[name]}, but train.learning_rate is 0: leave it out")


def is_state(name: str) -> bool:
    """Whether a weight is part of an S4 layer's state space: dt, A, B, P or Q; C and D are not."""
    module, _, last = name.rpartition(".")
    return module.endswith(".kernel") and last in STATE


def is_inner_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether Muon may update a weight: of a dense layer or convolution with several inputs and several outputs.

    Not embeddings, state spaces, nor the first and last layer of a network of audio, which has one channel there.
    """
    if not name.endswith((".kernel", ".v")) or len(shape) < 2:
        return False
    return shape[-1] > 1 and math.prod(shape[:-1]) > 1


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
