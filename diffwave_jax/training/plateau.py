"""A learning rate that drops once validation stops improving, as the autoregressive SaShiMi's recipes have it.

Its state is part of the optimizer's, so that a checkpoint holds it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

THRESHOLD = 1e-4  # a better loss is lower by this share (PyTorch's ReduceLROnPlateau)


class PlateauState(NamedTuple):
    """Where the search for a better validation stands; in the order of the names, which is a checkpoint's.

    Attributes:
      best: float32 scalar, the lowest validation loss so far.
      factor: float32 scalar, of the learning rate.
      worse: int32 scalar, validations since then.
    """

    best: jax.Array
    factor: jax.Array
    worse: jax.Array


def initial() -> PlateauState:
    """Before the first validation."""
    return PlateauState(best=jnp.float32(jnp.inf), factor=jnp.float32(1), worse=jnp.int32(0))


def scale_by_plateau() -> optax.GradientTransformation:
    """Updates times the state's factor, which `validated` changes."""

    def update(updates, state, params=None):
        del params
        return jax.tree.map(lambda value: value * state.factor, updates), state

    return optax.GradientTransformation(lambda params: initial(), update)


def validated(optimizer: optax.OptState, loss: jax.Array, *, patience: int, drop: float) -> optax.OptState:
    """The optimizer's state after a validation.

    Args:
      optimizer: with a `PlateauState` in it.
      loss: the validation's, a scalar.
      patience: after more validations than this without a better one the learning rate is multiplied by `drop`.
      drop: the factor.
    """

    def after(state: PlateauState) -> PlateauState:
        better = loss < state.best * (1 - THRESHOLD)
        worse = jnp.where(better, 0, state.worse + 1)
        drops = worse > patience
        return PlateauState(
            best=jnp.where(better, loss, state.best),
            factor=jnp.where(drops, state.factor * drop, state.factor),
            worse=jnp.where(drops, 0, worse),
        )

    return jax.tree.map(lambda part: after(part) if _is_plateau(part) else part, optimizer, is_leaf=_is_plateau)


def factor(optimizer: optax.OptState) -> float:
    """What the learning rate has dropped to, as a share of its schedule; 1 without a plateau."""
    found = [part for part in jax.tree.leaves(optimizer, is_leaf=_is_plateau) if _is_plateau(part)]
    return float(jax.device_get(found[0].factor)) if found else 1.0


def _is_plateau(part: object) -> bool:
    return isinstance(part, PlateauState)
