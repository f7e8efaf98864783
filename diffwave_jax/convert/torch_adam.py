"""Adam's state as PyTorch saves it."""

from collections.abc import Sequence

import numpy as np

from diffwave_jax.convert.contents import ADAM_HYPERPARAMETERS, Adam
from diffwave_jax.convert.mapping import Tensor, on_host
from diffwave_jax.convert.sources import FLOATS, in_file
from diffwave_jax.convert.tensor_file import TensorFile
from diffwave_jax.convert.torch_names import TensorReference
from diffwave_jax.errors import UserError

MOMENTS = ("exp_avg", "exp_avg_sq")
REMEDY = "convert with --weights-only"
MAX_UPDATES = 2**31


def read_adam(file: TensorFile, saved: object, parameters: Sequence[Tensor]) -> Adam:
    """Adam's moments and its number of updates; it numbers the parameters in the order of the `state_dict`.

    Raises:
      UserError: it is not Adam's state, or not of these parameters, or Adam was set otherwise than the original's.
    """
    state, numbers = _adam_state(file, saved, len(parameters))
    moments: dict[str, dict] = {key: {} for key in MOMENTS}
    counts = set()
    for number, tensor in zip(numbers, parameters, strict=True):
        # A parameter that never had a gradient has no state: Adam will not have moved it, as zero moments do not.
        entry = state.get(number)
        for key, into in moments.items():
            ours = tensor.to_ours(_moment(file, entry, key, tensor))
            into.update({name: on_host(array) for name, array in ours.items()})
        if entry is not None:
            counts.add(update_count(file, entry))
    if len(counts) > 1:
        raise UserError(f"{file.path}: parameters with different numbers of updates: {sorted(counts)[:5]}")
    return Adam(counts.pop() if counts else 0, moments["exp_avg"], moments["exp_avg_sq"])


def updates(file: TensorFile, saved: object) -> int | None:
    """Adam's largest number of updates, None where the state tells none."""
    state = saved.get("state") if isinstance(saved, dict) else None
    entries = state.values() if isinstance(state, dict) else ()
    counts = [number(file, entry.get("step")) for entry in entries if isinstance(entry, dict)]
    return max((int(count) for count in counts if count is not None and 0 < count < MAX_UPDATES), default=None)


def learning_rate(file: TensorFile, saved: object) -> float | None:
    """The first parameters' learning rate, None where the state tells none."""
    groups = saved.get("param_groups") if isinstance(saved, dict) else None
    first = groups[0] if isinstance(groups, list) and groups else None
    return number(file, first.get("lr")) if isinstance(first, dict) else None


def number(file: TensorFile, value: object) -> float | None:
    """A number that may have been saved as a tensor of one element; None for anything else."""
    if isinstance(value, TensorReference) and value.shape in ((), (1,)):
        value = file.read(value).reshape(()).item()
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def dtypes(saved: object) -> set[str]:
    """The element types of the moments."""
    state = saved.get("state") if isinstance(saved, dict) else None
    entries = [entry for entry in state.values() if isinstance(entry, dict)] if isinstance(state, dict) else []
    moments = [entry.get(key) for entry in entries for key in MOMENTS]
    return {moment.storage.dtype for moment in moments if isinstance(moment, TensorReference)}


def _adam_state(file: TensorFile, saved: object, n_parameters: int) -> tuple[dict, list[int]]:
    match saved:
        case {"state": dict(state), "param_groups": [dict(group)]} if isinstance(group.get("params"), list):
            numbers = group["params"]
        case {"state": dict(), "param_groups": [dict(), *others]}:
            raise UserError(
                f"{file.path}: the optimizer has {1 + len(others)} groups of parameters, the original's has one; "
                f"{REMEDY}"
            )
        case _:
            raise UserError(f"{file.path}: the optimizer's state is not Adam's; {REMEDY}")
    for name, expected in ADAM_HYPERPARAMETERS.items():
        if group.get(name, expected) != expected:
            raise UserError(
                f"{file.path}: Adam's {name} is {shown(group[name])}, the original's is {expected!r}; {REMEDY}"
            )
    if "betas" not in group:
        raise UserError(f"{file.path}: the optimizer's state is not Adam's, which has betas; {REMEDY}")
    if len(numbers) != n_parameters or not all(isinstance(n, int) for n in numbers):
        raise UserError(
            f"{file.path}: optimizer state for {len(numbers)} parameters, expected {n_parameters}; {REMEDY}"
        )
    return state, numbers


def _moment(file: TensorFile, entry: object, key: str, tensor: Tensor) -> np.ndarray:
    if entry is None:
        return np.zeros(tensor.torch_shape, np.float32)
    moment = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(moment, TensorReference):
        raise UserError(f"{file.path}: Adam's {key} of {tensor.torch_name} is missing; {REMEDY}")
    if moment.shape != tensor.torch_shape or moment.storage.dtype not in FLOATS:
        raise UserError(
            f"{file.path}: Adam's {key} of {tensor.torch_name} is {moment.storage.dtype} {moment.shape}, "
            f"expected float32 {tensor.torch_shape}; {REMEDY}"
        )
    return in_file(file, moment).read()


def update_count(file: TensorFile, entry: dict) -> int:
    """Updates done: a number in old files, a scalar tensor in new ones."""
    step = number(file, entry.get("step"))
    if step is None or not 0 <= step < MAX_UPDATES or step != int(step):
        found = shown(entry.get("step")) if step is None else step
        raise UserError(f"{file.path}: Adam's step is {found}, expected a whole number; {REMEDY}")
    return int(step)


def shown(value: object) -> str:
    """The value for a message; a container might be endless."""
    simple = (str, int, float, type(None))
    flat = type(value) is tuple and len(value) < 5 and all(isinstance(part, simple) for part in value)
    return f"{value!r:.60}" if flat or isinstance(value, simple) else f"a {type(value).__name__}"
