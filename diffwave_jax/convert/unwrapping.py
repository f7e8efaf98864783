"""Where training programs keep what a checkpoint holds: the weights, their average, the optimizer, the step.

Each finding is told in words, so that a user can see what a file was taken for.
"""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple, TypeGuard

from diffwave_jax.convert.tensor_file import TensorFile
from diffwave_jax.convert.torch_names import TensorReference
from diffwave_jax.errors import UserError

References = dict[str, TensorReference]
IsKnown = Callable[[Collection[str]], bool]

WEIGHTS = ("model_state_dict", "state_dict", "model", "net", "network", "generator", "module")
AVERAGE = (
    *("ema_state_dict", "ema_model_state_dict", "model_ema_state_dict", "model_state_dict_ema", "state_dict_ema"),
    *("ema_model", "model_ema", "ema_net", "averaged_model", "ema"),
)
INSIDE = (*WEIGHTS, *AVERAGE, "shadow", "shadow_params")  # of one of the above, where that holds more than tensors
OPTIMIZER = ("optimizer_state_dict", "optim_state_dict", "optimizer", "optim", "optimizer_states")
LIGHTNING = "pytorch-lightning_version"
WRAPPERS = {"module": "DataParallel", "_orig_mod": "torch.compile"}
COMPILED = "_orig_mod."
PARAMETRIZED = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}


class Unwrapped(NamedTuple):
    """What a checkpoint holds, found.

    Attributes:
      weights: {name in the network: tensor}, in the file's order.
      average: their moving average, by name or in the order of the parameters; None where there is none.
      average_key: what the file calls it.
      optimizer: its state as saved, None where there is none.
      said: how it was wrapped, in words.
    """

    weights: References
    average: References | list[TensorReference] | None
    average_key: str
    optimizer: object
    said: tuple[str, ...]


def unwrap(file: TensorFile, is_known: IsKnown) -> Unwrapped:
    """Finds the parts of a checkpoint.

    Args:
      file: open.
      is_known: whether these are the names of a network that can be converted; what stands before all names is taken
        off until they are.

    Raises:
      UserError: the file holds no named tensors.
    """
    content = file.content if isinstance(file.content, dict) else {}
    key, state = _find(content, WEIGHTS)
    if state is None and _has_names(content):
        key, state = "", content
    if not _has_names(state):
        held = ", ".join(repr(key) for key in list(content)[:5]) or f"a {type(file.content).__name__}"
        raise UserError(
            f"{file.path} holds no state dict, that is, no tensors by name (found {held}): give a checkpoint with "
            f"{WEIGHTS[0]}, or a state dict alone"
        )
    weights, beside = _without_average(dict(_named_tensors(state)))
    weights, said = _network_names(weights, is_known)
    average_key, average = _find(content, AVERAGE)
    if average is None and beside:
        average_key, average = next(iter(beside)).split(".")[0], beside
    if _has_names(average):
        average = _network_names(dict(_named_tensors(average)), is_known)[0]
    elif not isinstance(average, list):
        average = None
    told = (*_container(content, key, is_table=file.format == "safetensors"), *said)
    return Unwrapped(weights, average, average_key, _optimizer(content), told)


def _find(content: dict, keys: tuple[str, ...], depth: int = 3) -> tuple[str, object]:
    """The first of the keys that leads to tensors, at once or through others, and the tensors: by name, or a list."""
    for key in keys:
        value = content.get(key)
        if _has_names(value) or (isinstance(value, list) and value and _all_tensors(value)):
            return key, value
        if isinstance(value, dict) and depth:
            _, inside = _find(value, INSIDE, depth - 1)
            if inside is not None:
                return key, inside
    return "", None


def _all_tensors(values: list) -> TypeGuard[list[TensorReference]]:
    return all(isinstance(value, TensorReference) for value in values)


def _has_names(value: object) -> TypeGuard[dict]:
    return isinstance(value, dict) and any(_named_tensors(value))


def _named_tensors(state: dict) -> Iterator[tuple[str, TensorReference]]:
    """The tensors of a state dict, without the counters that wrappers keep beside them."""
    for name, value in state.items():
        if isinstance(name, str) and isinstance(value, TensorReference) and ("." in name or value.shape):
            yield name, value


def _container(content: dict, key: str, *, is_table: bool) -> Iterator[str]:
    """How the weights lie in the file, where it is not as the original saves them."""
    if LIGHTNING in content:
        yield "Lightning"
    elif not key and not is_table:
        yield "bare state dict"
    elif key and key != WEIGHTS[0]:
        yield f"weights under {key!r}"


def _optimizer(content: dict) -> object:
    for key in OPTIMIZER:
        value = content.get(key)
        if value:
            return value[0] if isinstance(value, list) and len(value) == 1 else value
    return None


def _without_average(tensors: References) -> tuple[References, References]:
    """The weights, and their average where it lies among them, as in a module that keeps both."""
    average = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in AVERAGE}
    weights = {name: tensor for name, tensor in tensors.items() if name not in average}
    return (weights, average) if weights else (average, {})


def _network_names(tensors: References, is_known: IsKnown) -> tuple[References, list[str]]:
    """The tensors under the names that they have in the network, and what was taken off the names."""
    said = []
    names = {name: name.replace(COMPILED, "") for name in tensors}
    if any(name != full for full, name in names.items()):
        said.append(WRAPPERS["_orig_mod"])
    names = {full: _as_older_weight_norm(name) for full, name in names.items()}
    if any(".parametrizations." in full for full in names):
        said.append("weight norm as a parametrization")
    prefix = _prefix(names.values(), is_known)
    said = [WRAPPERS.get(part, f"names under {part!r}") for part in prefix.split(".")[:-1]] + said
    inner = {name.removeprefix(prefix): tensors[full] for full, name in names.items()}
    if len(inner) < len(tensors):
        raise UserError("the checkpoint has two tensors of one name, with and without a wrapper's: keep one of them")
    return inner, said


def _as_older_weight_norm(name: str) -> str:
    for new, old in PARAMETRIZED.items():
        name = f"{name.removesuffix(new)}{old}" if name.endswith(new) else name
    return name


def _prefix(names: Collection[str], is_known: IsKnown) -> str:
    """What stands before every name of a network that is known; empty where none is found."""
    prefix, inner = "", list(names)
    while not is_known(inner):
        first = f"{inner[0].split('.')[0]}." if inner else ""
        if not inner or not all(name.startswith(first) for name in inner):
            return ""
        prefix, inner = prefix + first, [name.removeprefix(first) for name in inner]
    return prefix
