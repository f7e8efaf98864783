"""Checkpoints of autoregressive SaShiMi: five layouts, of RF5/simple-sashimi and of three versions of state-spaces/s4.

Every tensor gets our name by one list of rewritings, which between them bring all layouts to one form; what a tensor's
axes are then follows from its name alone.
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from diffwave_jax.errors import UserError
from diffwave_jax.kernels.truncation import with_length
from diffwave_jax.models import build, weights
from diffwave_jax.models.state_space import pairs, state_space

# Layouts by a name that only they have; the first that matches.
MARKERS = {
    "RF5/simple-sashimi": "mu_embedder.weight",
    "state-spaces/s4, version 2": "encoder.weight",
    "state-spaces/s4, version 3": "encoder.0.weight",
}
VERSION_4 = "state-spaces/s4, version 4"
STEP_SIZES = ("exp", "softplus")

# Applied in turn to every name, without the network's prefix.
REWRITINGS = (
    (r"^(sashimi|model)\.", ""),
    (r"^(mu_embedder|encoder(\.0)?)\.weight$", "embedding.embedding"),
    (r"^decoder(\.0)?\.output_transform\.", "head."),
    (r"^([dcu])_layers\.", lambda found: {"d": "down.", "c": "center.", "u": "up."}[found[1]]),
    (r"\.layer\.layer\.", ".layer."),
    (r"\.kernel\.kernel\.", ".kernel."),
    (r"\.norm\.norm\.", ".norm."),
    (r"\.layer\.(D|kernel\.\w+)$", r".s4.\1"),
    (r"\.layer\.output_linear(\.0)?\.", ".s4.output."),
    (r"\.layer\.ff\.0\.0\.", ".ff1."),
    (r"\.layer\.ff\.2\.", ".ff2."),
    (r"\.weight_([gv])$", r".\1"),
    (r"norm\.(m|weight|s)$", lambda found: "norm.shift" if found[1] == "m" else "norm.scale"),
    (r"\.weight$", ".kernel"),
    (r"\.inv_w_real$|\.A_real$", ".log_w_real"),
    (r"\.A_imag$", ".w_imag"),
    (r"\.inv_dt$", ".log_dt"),
    (r"\.l_kernel$", ".L"),
)
NODES, LENGTH = ".omega", ".L"  # of a kernel: a table of as many nodes as half its length, or the length itself
NOT_WEIGHTS = (NODES, ".z", LENGTH)
MAX_LAYERS, MAX_STATES, MAX_LENGTH = 100, 1024, 2**24  # more would take forever to set up, not to convert


class _Tensors(dict[str, np.ndarray]):
    """Tensors by our names."""

    def __missing__(self, name: str) -> np.ndarray:
        raise UserError(f"the checkpoint lacks the tensor for {name}, which its other tensors ask for")

    def size(self, name: str, axis: int) -> int:
        """Of one axis of a matrix, such as a layer's weight; or of a kernel's parameter."""
        if self[name].ndim <= axis or not self[name].size:
            raise UserError(f"the tensor for {name} has shape {self[name].shape}: it is not one of the originals'")
        return self[name].shape[axis]


class Converted(NamedTuple):
    """A converted network.

    Attributes:
      model: the config's `model` section.
      weights: {dotted name: float32 array}.
      said: what was found, in words: the layout first.
      corrected: some C is another than in the file, for another length of its kernels.
    """

    model: dict
    weights: dict[str, np.ndarray]
    said: tuple[str, ...]
    corrected: bool


def layout_of(names: Collection[str]) -> str | None:
    """Which layout these names of tensors have; None if they are not an autoregressive SaShiMi's."""
    if not any("c_layers." in name for name in names):
        return None
    if any(name.endswith(".kernel.inv_dt") for name in names):
        return VERSION_4
    return next((layout for layout, marker in MARKERS.items() if marker in names), None)


def convert(
    tensors: Mapping[str, np.ndarray], *, dt: str | None = None, code: str | None = None, length: int | None = None
) -> Converted:
    """Our config and weights.

    Args:
      tensors: {name in the file: array}, weights and buffers, of one of the layouts.
      dt: what a version 4 checkpoint's `inv_dt` stands for, one of `STEP_SIZES`, which no tensor tells.
      code: how audio became tokens; None for what the layout's programs do unless told otherwise.
      length: samples of a clip; None for the longest that the kernels' lengths allow.

    Raises:
      UserError: the layout is ambiguous or the tensors do not fit together.
    """
    layout = layout_of(tensors)
    if layout is None:
        raise ValueError("the tensors are not those of an autoregressive SaShiMi")
    if layout == VERSION_4 and dt not in STEP_SIZES:
        raise UserError(
            f"a checkpoint of {layout} does not say what its inv_dt means: give --dt exp for the released *_v4.pt, "
            "which were converted from version 3, or --dt softplus for a model trained with version 4"
        )
    names = our_names(tensors)
    ours = _Tensors({names[name]: our_axes(names[name], np.asarray(array)) for name, array in tensors.items()})
    if layout == VERSION_4:
        ours = _from_version_4(ours, dt)
    model = _model(ours) | {"code": code or ("mu_law" if layout.startswith("RF5") else "scaled_mu_law")}
    model |= _lengths(model, ours, length)
    _check(model, ours, {ours: theirs for theirs, ours in names.items()})
    found = _with_lengths(model, ours)
    corrected = any(found[name] is not ours[name] for name in found)
    return Converted(model, found, (layout, f"audio as {model['code']}"), corrected)


def our_names(names: Collection[str]) -> dict[str, str]:
    """{name in the file: our name}; ours, as those of some layouts, number the layers of the way up through."""
    rewritten = {}
    for name in names:
        ours = name
        for pattern, replacement in REWRITINGS:
            ours = re.sub(pattern, replacement, ours)
        rewritten[name] = ours
    nested = {found[0]: None for ours in rewritten.values() if (found := re.match(r"up\.\d+\.\d+\.", ours))}
    if nested:
        order = sorted(nested, key=lambda prefix: [int(part) for part in prefix.split(".")[1:3]])
        numbers = {prefix: f"up.{number}." for number, prefix in enumerate(order)}
        rewritten = {
            name: re.sub(r"^up\.\d+\.\d+\.", lambda found: numbers[found[0]], ours) for name, ours in rewritten.items()
        }
    return rewritten


def derivative(name: str, array: np.ndarray, *, layout: str, dt: str | None) -> np.ndarray | np.float32:
    """The derivative of a tensor in the file by ours of that name, element by element, which gradients follow."""
    if layout == VERSION_4 and name.endswith(".w_imag"):
        return np.float32(-1)
    if layout == VERSION_4 and name.endswith(".log_dt") and dt == "softplus":
        inverse = array.astype(np.float64)
        return (np.logaddexp(0, inverse) * (1 + np.exp(-inverse))).astype(np.float32)
    return np.float32(1)


def our_axes(name: str, array: np.ndarray) -> np.ndarray:
    """Channels last, and without the axes of length one that some layouts add."""
    last = name.rpartition(".")[2]
    if last in ("kernel", "v"):
        return np.ascontiguousarray(array.T)
    if last in ("B", "P", "Q"):
        return array.reshape(array.shape[1:]) if array.shape[:1] == (1,) else array
    if last in ("bias", "g", "D", "log_dt", "scale", "shift"):
        return array.reshape(-1)
    return array


def _from_version_4(ours: _Tensors, dt: str | None) -> _Tensors:
    """Version 4 stores the state matrix's imaginary part with the other sign, and perhaps another function of dt."""
    changed = _Tensors()
    for name, array in ours.items():
        if name.endswith(".w_imag"):
            changed[name] = -array
        elif name.endswith(".log_dt") and dt == "softplus":
            changed[name] = np.log(np.logaddexp(0, array.astype(np.float64))).astype(np.float32)
        else:
            changed[name] = array
    return changed


def _model(ours: _Tensors) -> dict:
    """The `model` section without the kernels' lengths."""
    d_model = ours.size("embedding.embedding", 1)
    pools = [name for name in _layers(ours, "down") if _is_pool(ours, name)]
    kernels = [name.removesuffix(".C") for name in ours if name.endswith(".s4.kernel.C")]
    if not (pools and kernels):
        raise UserError(f"the checkpoint has {len(pools)} poolings and {len(kernels)} S4 layers: it is no SaShiMi")
    weight = "v" if f"{pools[0]}.linear.v" in ours else "kernel"
    channels = [d_model, *(ours.size(f"{pool}.linear.bias", 0) for pool in pools)]
    output, feed_forward = f"{kernels[0].removesuffix('.kernel')}.output.kernel", _first(ours, ".ff1.kernel")
    return {
        "name": "sashimi_ar",
        "d_model": d_model,
        "n_layers": tuple(len(stage) for stage in _stages(ours)),
        "pool": tuple(ours.size(f"{p}.linear.{weight}", 0) // n for p, n in zip(pools, channels, strict=False)),
        "expand": channels[1] // channels[0],
        "ff": ours.size(feed_forward, 1) // ours.size(feed_forward, 0),
        "d_state": 2 * ours.size(f"{kernels[0]}.C", 2),
        "tie_state": ours.size(f"{kernels[0]}.B", 0) == 1,
        "glu": ours.size(output, 1) == 2 * ours.size(output, 0),
        "unet": any(name.startswith("down.") for name in kernels),
        "norm": "scalar" if any(name.endswith(".norm.shift") for name in ours) else "layer",
        "weight_norm_pools": weight == "v",
        "free_q": f"{kernels[0]}.Q" in ours,
    }


def _first(ours: _Tensors, end: str) -> str:
    """The first name that ends so."""
    return next((name for name in ours if name.endswith(end)), f"center.1{end}")


def _layers(ours: _Tensors, group: str) -> list[str]:
    """The layers of one list, in order."""
    numbers = {int(found[1]) for name in ours if (found := re.match(rf"{group}\.(\d{{1,6}})\.", name))}
    return [f"{group}.{number}" for number in sorted(numbers)]


def _is_pool(ours: _Tensors, layer: str) -> bool:
    return f"{layer}.linear.bias" in ours


def _stages(ours: _Tensors) -> list[list[str]]:
    """The S4 layers of the way up of each stage, from the full rate to the centre."""
    stages: list[list[str]] = []
    for name in _layers(ours, "up"):
        if _is_pool(ours, name):
            stages.insert(0, [])
        elif f"{name}.s4.D" in ours and stages:
            stages[0].append(name)
    return [*stages, [name for name in _layers(ours, "center") if f"{name}.s4.D" in ours]]


def _lengths(model: Mapping, ours: _Tensors, length: int | None) -> dict:
    """The fields `l_max` and `length`: what the kernels say; `length` where they do not."""
    stages = _stages(ours)
    if len(stages) != len(model["pool"]) + 1:
        raise UserError(f"the checkpoint has {len(model['pool'])} poolings down, but {len(stages) - 1} up")
    rates = [math.prod(model["pool"][:stage]) for stage in range(len(stages))]
    found = [max((_kernel_length(ours, layer) for layer in stage), default=0) for stage in stages]
    known = [l_max * rate for l_max, rate in zip(found, rates, strict=True) if l_max]
    if not (length or known):
        raise UserError("the checkpoint's kernels have no length yet, as in an untrained model: give --length")
    length = length or min(known)
    l_max = tuple(l_max or -(-length // rate) for l_max, rate in zip(found, rates, strict=True))
    return {"l_max": l_max, "length": length}


def _kernel_length(ours: _Tensors, layer: str) -> int:
    """The length that a layer's C is corrected for; 0 for none."""
    kernel = f"{layer}.s4.kernel"
    if kernel + NODES in ours:
        return 2 * (len(ours[kernel + NODES]) - 1)
    length = ours[kernel + LENGTH]
    if length.size != 1 or not 0 <= length < MAX_LENGTH:
        raise UserError(f"the tensor for {kernel}{LENGTH} is no length: found {length!r:.60}")
    return int(length)


def _check(model: Mapping, ours: _Tensors, theirs: Mapping[str, str]) -> None:
    """UserError unless the tensors are exactly the weights of the model, besides what are not weights."""
    if max(model["n_layers"]) > MAX_LAYERS or len(model["pool"]) > MAX_LAYERS or model["d_state"] > MAX_STATES:
        raise UserError(f"the checkpoint has {model['n_layers']} layers of {model['d_state']} states, too many")
    _, expected = weights.abstract(lambda rngs: build(model, rngs=rngs))
    for name, value in expected.items():
        if ours[name].shape != value.shape:
            raise UserError(f"the tensor {theirs[name]} has shape {ours[name].shape}, where {value.shape} is expected")
    for name in ours:
        if name not in expected and not name.endswith(NOT_WEIGHTS):
            raise UserError(f"the checkpoint has a tensor {theirs[name]!r} that the originals' networks do not have")


def _with_lengths(model: Mapping, ours: _Tensors) -> dict[str, np.ndarray]:
    """The weights, C corrected anew in those layers that have not their stage's length."""
    found = {name: array for name, array in ours.items() if not name.endswith(NOT_WEIGHTS)}
    for name in [name for name in found if name.endswith(".s4.kernel.C")]:
        layer = name.removesuffix(".s4.kernel.C")
        old, new = _kernel_length(ours, layer), model["l_max"][_stage_of(ours, layer)]
        if old != new:
            found[name] = _corrected(found, layer, old or None, new)
    return found


def _stage_of(ours: _Tensors, layer: str) -> int:
    """The stage of a layer: the number of pools on the way from it to the full rate."""
    group, number = layer.split(".")
    pooled = "up" if group == "up" else "down"
    pools = [int(name.split(".")[1]) for name in _layers(ours, pooled) if _is_pool(ours, name)]
    if group == "center":
        return len(pools)
    return sum(pool < int(number) if group == "down" else pool > int(number) for pool in pools)


def _corrected(found: Mapping[str, np.ndarray], layer: str, old: int | None, new: int) -> np.ndarray:
    prefix = f"{layer}.s4.kernel."
    ssm = state_space({name.removeprefix(prefix): x for name, x in found.items() if name.startswith(prefix)})
    return pairs(with_length(ssm.dt, ssm.w, ssm.p, ssm.c, old, new, q=ssm.q)).astype(np.float32)
