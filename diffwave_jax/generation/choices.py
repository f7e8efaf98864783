"""Classes and speakers by number or by name."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError

MOST_NAMES = 30  # shown in an error

Choice = int | str | Sequence[int | str]
"""One class or speaker, or several that clips take in turn, by number or by name."""


def class_names(config: ConfigDict) -> tuple[str, ...]:
    """The names of a model's classes, in the order of their numbers; the numbers where it has no names for them."""
    return _names(config.data.classes, config.model.n_classes)


def speaker_names(config: ConfigDict) -> tuple[str, ...]:
    """The names of a model's speakers, in the order of their numbers; the numbers where it has no names for them."""
    return _names(config.data.speakers, config.model.n_speakers)


def numbers_of(choice: Choice, names: tuple[str, ...], what: str) -> tuple[int, ...]:
    """The numbers of what is chosen.

    Args:
      choice: one or several.
      names: those that the model knows, in the order of their numbers.
      what: they are, "digit" or "speaker".

    Raises:
      UserError: a name that the model does not know, or neither a name nor a number.
    """
    several: Any = (choice,) if np.ndim(choice) == 0 else choice  # NumPy's arrays too
    return tuple(_number(one, names, what) for one in several)


def _number(one: Any, names: tuple[str, ...], what: str) -> int:
    """The number of a class or a speaker that is asked for by number or by name."""
    if isinstance(one, str):
        if one in names:
            return names.index(one)
        if one.isdecimal():
            return int(one)
        raise _unknown(one, names, what)
    try:
        return operator.index(one)
    except TypeError:
        raise _unknown(one, names, what) from None


def check_numbers(numbers: tuple[int, ...], names: tuple[str, ...], what: str) -> None:
    """UserError for a number that none of `names` has; arguments as in `numbers_of`."""
    for number in numbers:
        if not 0 <= number < len(names):
            raise _unknown(number, names, what)


def _unknown(one: object, names: tuple[str, ...], what: str) -> UserError:
    kind = {"digit": "classes", "speaker": "speakers"}[what]
    if not names:
        return UserError(f"{what} is {one!r}; this model has no {kind} to choose from")
    shown = ", ".join([*names[:MOST_NAMES], *(["..."] if len(names) > MOST_NAMES else [])])
    return UserError(f"{what} is {one!r}; this model has the {kind} {shown}, by number 0 to {len(names) - 1}")


def _names(names: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(names) if len(names) == count else tuple(map(str, range(count)))
