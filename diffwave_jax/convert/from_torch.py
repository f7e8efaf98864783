"""A PyTorch checkpoint to ours: the file is opened, unwrapped, recognised, and read by its layout's table."""

import dataclasses
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

from diffwave_jax.convert import autoregressive, autoregressive_adam, mapping, original_config, torch_adam
from diffwave_jax.convert.contents import Arrays, Contents
from diffwave_jax.convert.infer import LAYOUTS, Told, layout_of
from diffwave_jax.convert.mapping import on_host
from diffwave_jax.convert.recipes import named, sections
from diffwave_jax.convert.sources import FLOATS, Source, in_file, with_weight_norm
from diffwave_jax.convert.tensor_file import TensorFile
from diffwave_jax.convert.torch_adam import number, shown
from diffwave_jax.convert.torch_names import TensorReference
from diffwave_jax.convert.torch_reader import FORMATS, open_checkpoint
from diffwave_jax.convert.unwrapping import Unwrapped, unwrap
from diffwave_jax.errors import UserError

STEPS = ("steps", "step", "global_step", "iter", "iteration", "iterations", "n_iter")
RATES = ("lr", "learning_rate")
DECAYS = ("ema_decay", "decay")
MAX_NUMBER = 2**53
NUMBERED = re.compile(r"(?:(?:checkpoint|ckpt|iter|model|step|steps|weights)[-_=]?)?(\d{1,15})")  # a file's name


def read_torch(
    path: str | os.PathLike,
    *,
    dilation_cycle: int | None = None,
    length: int | None = None,
    dt: str | None = None,
    code: str | None = None,
    optimizer: bool = True,
    config: str | os.PathLike | None = None,
) -> Contents:
    """Reads a checkpoint in any format of `torch_reader` and any of the wrappings of `unwrapping`.

    Args:
      path: the file.
      dilation_cycle: DiffWave's, needed where the number of layers is not a published one.
      length: samples of a clip; None for what `infer_model` takes it to be.
      dt: what the step sizes of an autoregressive model of state-spaces/s4 version 4 stand for, "exp" or "softplus".
      code: an autoregressive model's, of `diffwave_jax.tokens.CODES`; None for what its layout's programs usually use.
      optimizer: read Adam's state too, where the file has it.
      config: a JSON file, the original's own configuration, for what the file does not say.

    Raises:
      UserError: the file cannot be read, or a tensor is missing, unknown or misshapen.
    """
    with open_checkpoint(path) as file:
        found = unwrap(file, _is_known)
        if autoregressive.layout_of(found.weights):
            return _read_autoregressive(file, found, dt=dt, code=code, length=length, optimizer=optimizer)
        layout = layout_of(found.weights)
        whole = {name: in_file(file, tensor) for name, tensor in found.weights.items()}
        sources = with_weight_norm(whole, layout.weight_normed)
        shapes = {name: source.shape for name, source in sources.items()}
        content = file.content if isinstance(file.content, dict) else {}
        original = original_config.of_checkpoint(content.get("params"), path, config)
        told = Told(dilation_cycle, length, _kernel_lengths(file, found.weights), original)
        model = layout.model(shapes, told)
        tensors = _expected(file, sources, model)
        parameters = [tensors[name] for name in sources if not tensors[name].l_max]
        multiplied_out = len(sources) > len(whole)
        adam = None
        if optimizer and found.optimizer is not None and not multiplied_out:
            adam = torch_adam.read_adam(file, found.optimizer, parameters)
        step, step_said = _step(file, found)
        average = _average(file, found, parameters, layout.weight_normed)
        used = {sources[tensor.torch_name].dtype for tensor in parameters}
        return Contents(
            model=model,
            weights=_ours(parameters, sources),
            step=step,
            learning_rate=_learning_rate(file, found),
            adam=adam,
            average=average,
            average_decay=_first(file, DECAYS) if average else None,
            sections=sections(layout, model, original),
            recognised=(
                named(layout, model, original),
                *([] if file.format == FORMATS[0].name else [file.format]),
                *[said for said in found.said if said != f"names under {layout.prefix[:-1]!r}"],
                *_norm_said(multiplied_out, found),
                *_nodes_said(model, tensors, sources),
                step_said,
                *_dtypes_said(used | (torch_adam.dtypes(found.optimizer) if adam else set())),
                *([f"moving average from {found.average_key!r}"] if average else []),
            ),
        )


def _is_known(names: Collection[str]) -> bool:
    return any(layout.marker in names for layout in LAYOUTS) or autoregressive.layout_of(names) is not None


def _read_autoregressive(
    file: TensorFile, found: Unwrapped, *, dt: str | None, code: str | None, length: int | None, optimizer: bool
) -> Contents:
    """An autoregressive SaShiMi, with its optimizer's state unless the kernels were given other lengths."""
    sources = {name: in_file(file, tensor) for name, tensor in found.weights.items()}
    tensors = {name: source.read() for name, source in sources.items()}
    converted = autoregressive.convert(tensors, dt=dt, code=code, length=length)
    step, step_said = _step(file, found)
    contents = Contents(
        model=converted.model,
        weights={name: on_host(array) for name, array in converted.weights.items()},
        step=step,
        recognised=("autoregressive SaShiMi", *converted.said, *found.said, step_said),
    )
    untrained = isinstance(found.optimizer, dict) and not found.optimizer.get("state")
    if found.optimizer is None or untrained or not optimizer:
        return contents
    if converted.corrected:
        left = "its kernels were given their stage's length, so without the optimizer's state"
        return dataclasses.replace(contents, recognised=(*contents.recognised, left))
    grouped = autoregressive_adam.read_adam(file, found.optimizer, tensors, layout=converted.said[0], dt=dt)
    return dataclasses.replace(
        contents,
        adam=grouped.adam,
        learning_rate=grouped.learning_rate,
        state_learning_rate=grouped.state_learning_rate,
        weight_decay=grouped.weight_decay,
    )


def _expected(file: TensorFile, found: Mapping[str, Source], model: dict) -> dict[str, mapping.Tensor]:
    """The tensors that the network has by name, all found; a missing, misshapen or unknown one is a UserError.

    The names come first: they cost nothing, while the shapes take building a small network.
    """
    for name in mapping.torch_names(model):
        if name not in found and not name.endswith(mapping.BUFFERS):
            raise UserError(f"{file.path} lacks the tensor {name}, which its other tensors ask for")
    expected = {tensor.torch_name: tensor for tensor in mapping.tensors(model)}
    for name, source in found.items():
        if name not in expected:
            raise UserError(f"{file.path} has a tensor {name!r} that the original's network does not have")
        floats = (*FLOATS, "int64") if expected[name].l_max else FLOATS
        if source.shape != expected[name].torch_shape or source.dtype not in floats:
            raise UserError(
                f"{file.path}: the tensor {name} is {source.dtype} {source.shape}, "
                f"expected float32 {expected[name].torch_shape}"
            )
    return expected


def _kernel_lengths(file: TensorFile, tensors: Mapping[str, TensorReference]) -> dict[str, int]:
    """{name of a buffer: the length that it gives}."""
    scalars = {name: tensor for name, tensor in tensors.items() if name.endswith(".kernel.L") and tensor.shape == ()}
    return {name: int(file.read(tensor).item()) for name, tensor in scalars.items()}


def _ours(parameters: list[mapping.Tensor], sources: Mapping[str, Source]) -> Arrays:
    ours = {}
    for tensor in parameters:
        ours |= {name: on_host(array) for name, array in tensor.to_ours(sources[tensor.torch_name].read()).items()}
    return ours


def _average(
    file: TensorFile, found: Unwrapped, parameters: list[mapping.Tensor], weight_normed: tuple[str, ...]
) -> Arrays | None:
    if found.average is None:
        return None
    references = found.average
    if isinstance(references, list):  # of the parameters, in their order
        references = dict(zip([tensor.torch_name for tensor in parameters], references, strict=False))
    sources = with_weight_norm({name: in_file(file, value) for name, value in references.items()}, weight_normed)
    for tensor in parameters:
        source = sources.get(tensor.torch_name)
        if source is None or source.shape != tensor.torch_shape or source.dtype not in FLOATS:
            what = "missing" if source is None else f"{source.dtype} {source.shape}"
            raise UserError(
                f"{file.path}: {tensor.torch_name} in the moving average {found.average_key!r} is {what}, expected "
                f"float32 {tensor.torch_shape}"
            )
    return _ours(parameters, sources)


def _step(file: TensorFile, found: Unwrapped) -> tuple[int, str]:
    """Training steps done, and in words where they were found."""
    step = _first(file, STEPS)
    if step is not None:
        return int(step), f"step {int(step)}"
    step = torch_adam.updates(file, found.optimizer)
    if step is not None:
        return step, f"step {step} from Adam's count"
    if name := NUMBERED.fullmatch(Path(file.path).stem):
        return int(name[1]), f"step {int(name[1])} from the file's name"
    return 0, "step unknown, taken as 0"


def _learning_rate(file: TensorFile, found: Unwrapped) -> float | None:
    rate = _first(file, RATES)
    return torch_adam.learning_rate(file, found.optimizer) if rate is None else rate


def _first(file: TensorFile, keys: tuple[str, ...]) -> float | None:
    """The number under the first of the keys that the file has; UserError where it is none."""
    content = file.content if isinstance(file.content, dict) else {}
    for key in keys:
        if content.get(key) is not None:
            value = number(file, content[key])
            if value is None or not 0 <= value < MAX_NUMBER:
                raise UserError(f"{file.path}: {key} is {shown(content[key])}, expected a number from 0 on")
            return value
    return None


def _norm_said(multiplied_out: bool, found: Unwrapped) -> list[str]:
    if not multiplied_out:
        return []
    return ["weight norm put back" + (", so without the optimizer's state" if found.optimizer is not None else "")]


def _nodes_said(model: dict, expected: Mapping[str, mapping.Tensor], sources: Mapping[str, Source]) -> list[str]:
    buffers = [name for name, tensor in expected.items() if tensor.l_max and tensor.torch_shape]
    if not buffers or any(name in sources for name in buffers):
        return []
    return [f"no kernel nodes, so l_max taken to be {model['l_max']} (--length sets it)"]


def _dtypes_said(dtypes: set[str]) -> list[str]:
    others = sorted(dtypes - {"float32"})
    return [f"{', '.join(others)} -> float32"] if others else []
