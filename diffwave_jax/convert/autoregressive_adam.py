"""AdamW's state of an autoregressive SaShiMi, whose programs sort the weights into groups, each with its settings."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from diffwave_jax.convert import autoregressive
from diffwave_jax.convert.contents import ADAM_HYPERPARAMETERS, Adam
from diffwave_jax.convert.mapping import on_host
from diffwave_jax.convert.sources import FLOATS, in_file
from diffwave_jax.convert.tensor_file import TensorFile
from diffwave_jax.convert.torch_adam import MOMENTS, REMEDY, number, shown, update_count
from diffwave_jax.convert.torch_names import PassedOver, TensorReference
from diffwave_jax.errors import UserError
from diffwave_jax.training.optimizer import decays, is_state

# How the programs group kinds of weights (see `_kind`): RF5 and version 2, version 3, version 4, and all in one group.
GROUPINGS = (
    ({"rest", "C", "final norm", "inner"}, {"state"}),
    ({"rest", "C", "final norm"}, {"inner"}, {"state"}),
    ({"rest"}, {"C"}, {"inner", "final norm"}, {"state"}),
    ({"rest", "C", "final norm", "inner", "state"},),
)
CHECKED = {name: value for name, value in ADAM_HYPERPARAMETERS.items() if name != "weight_decay"}


class GroupedAdam(NamedTuple):
    """An optimizer's state.

    Attributes:
      adam: moments and number of updates.
      learning_rate: of all weights but state spaces.
      state_learning_rate: of state spaces.
      weight_decay: of the weights that decay.
    """

    adam: Adam
    learning_rate: float
    state_learning_rate: float
    weight_decay: float


def read_adam(
    file: TensorFile, saved: object, tensors: Mapping[str, np.ndarray], *, layout: str, dt: str | None
) -> GroupedAdam:
    """The state that a checkpoint of `convert.autoregressive` keeps.

    Args:
      file: open.
      saved: the optimizer's state dict.
      tensors: {name in the file: array}, weights and buffers, in the file's order.
      layout, dt: see `convert.autoregressive`.

    Raises:
      UserError: it is not AdamW's, not of these weights, or its groups are not those of the originals' programs.
    """
    if not isinstance(saved, dict) or not isinstance(saved.get("param_groups"), list):
        raise UserError(f"{file.path}: the optimizer's state is not Adam's; {REMEDY}")
    state, groups = saved.get("state"), saved["param_groups"]
    if not isinstance(state, dict) or not all(isinstance(group, dict) for group in groups):
        raise UserError(f"{file.path}: the optimizer's state is not Adam's; {REMEDY}")
    ours = autoregressive.our_names(tensors)
    parameters = [name for name in tensors if not ours[name].endswith(autoregressive.NOT_WEIGHTS)]
    assigned = _assigned(file, state, groups, {name: (ours[name], tensors[name].shape) for name in parameters})
    moments: dict[str, dict] = {key: {} for key in MOMENTS}
    for torch_name, parameter in itertools.chain(*assigned):
        name, weight = ours[torch_name], tensors[torch_name]
        factor = autoregressive.derivative(name, weight, layout=layout, dt=dt)
        for power, key in enumerate(MOMENTS, start=1):
            moment = _moment(file, state.get(parameter), key, torch_name, weight.shape)
            moments[key][name] = on_host(autoregressive.our_axes(name, moment * factor**power))
    counts = {update_count(file, entry) for entry in state.values() if isinstance(entry, dict)}
    if len(counts) > 1:
        raise UserError(f"{file.path}: parameters with different numbers of updates: {sorted(counts)[:5]}")
    adam = Adam(counts.pop() if counts else 0, moments["exp_avg"], moments["exp_avg_sq"])
    named = [[ours[name] for name, _ in group] for group in assigned]
    return GroupedAdam(adam, *_settings(file, groups, named))


def _kind(name: str) -> str:
    """What a grouping may tell apart."""
    if is_state(name):
        return "state"
    if name.endswith(".s4.kernel.C"):
        return "C"
    if name in ("norm.scale", "norm.bias"):
        return "final norm"
    return "rest" if decays(name) else "inner"


def _assigned(
    file: TensorFile, state: Mapping, groups: Sequence[dict], parameters: Mapping[str, tuple[str, tuple]]
) -> list[list[tuple[str, int]]]:
    """For each group the names in the file and the numbers of its parameters.

    The file numbers parameters group by group, in the network's order within each; which are where only their shapes
    tell.
    """
    numbers = [_numbers(group) for group in groups]
    for kinds in _groupings(len(groups)):
        names = [[name for name, (ours, _) in parameters.items() if _kind(ours) in group] for group in kinds]
        if [len(group) for group in names] == [len(group) for group in numbers]:
            found = [list(zip(*group, strict=True)) for group in zip(names, numbers, strict=True)]
            if all(_fits(state.get(number), parameters[name][1]) for name, number in itertools.chain(*found)):
                return found
    sizes = [len(group) for group in numbers]
    raise UserError(
        f"{file.path}: the optimizer's groups of {', '.join(map(str, sizes))} parameters are not those of the "
        f"originals' programs for these {len(parameters)}; {REMEDY}"
    )


def _numbers(group: dict) -> list[int]:
    """Those of a group's parameters; none where they cannot be read."""
    numbers = group.get("params")
    return numbers if isinstance(numbers, list) and all(isinstance(number, int) for number in numbers) else []


def _groupings(count: int) -> Iterator[tuple[set[str], ...]]:
    """Those of so many groups; the programs put the second and further ones in no particular order."""
    for first, *others in GROUPINGS:
        if len(others) + 1 == count:
            for order in itertools.permutations(others):
                yield (first, *order)


def _fits(entry: object, shape: tuple) -> bool:
    """Whether an entry of the state may be that of a tensor of this shape; one that never had a gradient has none."""
    if not isinstance(entry, dict):
        return entry is None
    return all(isinstance(entry.get(key), TensorReference) and entry[key].shape == shape for key in MOMENTS)


def _moment(file: TensorFile, entry: dict | None, key: str, name: str, shape: tuple) -> np.ndarray:
    if entry is None:
        return np.zeros(shape, np.float32)
    if entry[key].storage.dtype not in FLOATS:
        raise UserError(f"{file.path}: Adam's {key} of {name} is {entry[key].storage.dtype}, not float32; {REMEDY}")
    return in_file(file, entry[key]).read()


def _settings(file: TensorFile, groups: Sequence[dict], named: Sequence[Sequence[str]]) -> tuple[float, float, float]:
    """Learning rate, that of state spaces, and weight decay."""
    rates: dict[bool, set[float]] = {True: set(), False: set()}
    decay: dict[bool, set[float]] = {True: set(), False: set()}
    for group, names in zip(groups, named, strict=True):
        for setting, expected in CHECKED.items():
            value = group.get(setting, expected)
            if not isinstance(value, PassedOver) and value != expected:
                raise UserError(f"{file.path}: Adam's {setting} is {shown(value)}, not {expected!r}; {REMEDY}")
        for into, setting, of in ((rates, "lr", is_state), (decay, "weight_decay", decays)):
            value = number(file, group.get(setting))
            if value is None:
                raise UserError(f"{file.path}: the optimizer's {setting} is {shown(group.get(setting))}; {REMEDY}")
            for name in names:
                into[of(name)].add(value)
    if any(len(values) != 1 for values in (*rates.values(), decay[True])) or decay[False] > {0.0}:
        raise UserError(f"{file.path}: the optimizer's groups have other rates or decay than S4's recipes; {REMEDY}")
    return rates[False].pop(), rates[True].pop(), decay[True].pop()
