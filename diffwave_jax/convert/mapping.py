"""Which tensor of the original's `state_dict` is which of our weights: one table, read in both directions.

A leaf of the table is (torch name, our name, axes); axes such as "io->oi1" name our axes, then PyTorch's, a 1 being an
axis of length one, and O being o with its two halves the other way round. Several of our names, with bars between them,
lie one after another along o in one tensor. A buffer, which is not ours, is (torch name, name, l_max). A branch is
(torch name, our name, table). Every table is in the order of the original's `state_dict`, in which its optimizer counts
the parameters too.
"""

import functools
from collections.abc import Hashable, Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np

from diffwave_jax.convert.layers import layers, template
from diffwave_jax.errors import UserError
from diffwave_jax.models import DiffWaveConfig, SaShiMiConfig, build, model_config, weights

LINEAR = (("weight", "kernel", "io->oi"), ("bias", "bias", "o->o"))
COLUMN_LINEAR = (("weight", "kernel", "io->oi"), ("bias", "bias", "o->o1"))
WEIGHT_NORMED_COLUMN_LINEAR = (("bias", "bias", "o->o1"), ("weight_g", "g", "o->o1"), ("weight_v", "v", "io->oi"))
POINTWISE_CONV = (("weight", "kernel", "io->oi1"), ("bias", "bias", "o->o"))
WEIGHT_NORMED_POINTWISE_CONV = (("bias", "bias", "o->o"), ("weight_g", "g", "o->o11"), ("weight_v", "v", "io->oi1"))
WEIGHT_NORMED_CONV = (("bias", "bias", "o->o"), ("weight_g", "g", "o->o11"), ("weight_v", "v", "kio->oik"))
SCALAR_NORM = (("m", "shift", "h->h"), ("s", "scale", "h->h"))
UPSAMPLE = (("weight", "kernel", "bt->11bt"), ("bias", "bias", "u->u"))
WEIGHT_NORMED_UPSAMPLE = (("bias", "bias", "u->u"), ("weight_g", "g", "u->111u"), ("weight_v", "v", "bt->11bt"))
LAYER_NORM = (("weight", "scale", "h->h"), ("bias", "bias", "h->h"))

S4_KERNEL_PARAMETERS = (
    ("C", "C", "dhmc->dhmc"),
    ("log_dt", "log_dt", "h->h"),
    ("B", "B", "hmc->1hmc"),
    ("P", "P", "hmc->1hmc"),
    ("log_w_real", "log_w_real", "hm->hm"),
    ("w_imag", "w_imag", "hm->hm"),
)
BUFFERS = (".omega", ".z", ".L")  # of those kernels: computed, not learned
S4_OUTPUT = {True: "layer.output_linear.0", False: "layer.output_linear"}  # with and without GLU


def _s4_block(glu: bool, l_max: int) -> tuple:
    kernel = (*S4_KERNEL_PARAMETERS, ("omega", "omega", l_max), ("z", "z", l_max))
    return (
        ("fc_t", "step", LINEAR),
        ("layer.D", "s4.D", "h->1h"),
        ("layer.kernel.kernel", "s4.kernel", kernel),
        (S4_OUTPUT[glu], "s4.output", COLUMN_LINEAR),
        ("norm", "norm", LAYER_NORM),
    )


FEED_FORWARD_BLOCK = (
    ("layer.ff.0.0", "ff1", COLUMN_LINEAR),
    ("layer.ff.2", "ff2", COLUMN_LINEAR),
    ("norm", "norm", LAYER_NORM),
)
POOL = (("linear", "linear", WEIGHT_NORMED_COLUMN_LINEAR),)
OUTPUT = (
    ("final_conv.0.conv", "output1", WEIGHT_NORMED_POINTWISE_CONV),
    ("final_conv.2.conv", "output2", POINTWISE_CONV),
)


def _sashimi_table(config: SaShiMiConfig) -> tuple:
    return (
        ("init_conv.0.conv", "input", WEIGHT_NORMED_POINTWISE_CONV),
        ("fc_t1", "embedding.fc1", LINEAR),
        ("fc_t2", "embedding.fc2", LINEAR),
        *OUTPUT,
        *_sashimi_layers(config),
        ("norm", "norm", LAYER_NORM),
    )


def _sashimi_layers(config: SaShiMiConfig) -> list[tuple]:
    """The original nests its up layers by stage; ours, like its others, are one list each."""
    stages = [
        {"s4": _s4_block(config.glu, l_max), "ff": FEED_FORWARD_BLOCK, "pool": POOL} for l_max in config.stage_l_max
    ]
    up_names = iter(
        f"u_layers.{up}.{layer}"
        for up, stage in enumerate(reversed(range(len(config.pool))))
        for layer in range(1 + 2 * config.stage_layers[stage])
    )
    table = []
    for name, (group, stage, block) in layers(config).items():
        theirs = next(up_names) if group == "up" else name.replace("down.", "d_layers.").replace("center.", "c_layers.")
        table.append((theirs, name, stages[stage][block]))
    return table


def _second_sashimi_table(config: SaShiMiConfig) -> tuple:
    """albertfgu/diffwave-sashimi: a layer holds an S4 block and a feed-forward block of ours."""
    names, table = layers(config), []
    numbers: dict[str, int] = dict.fromkeys(("down", "center", "up"), 0)
    for name, kind in names.items():
        if kind.block == "ff":
            continue
        theirs = f"{kind.group[0]}_layers.{numbers[kind.group]}"
        numbers[kind.group] += 1
        if kind.block == "pool":
            table.append((f"{theirs}.linear.conv", f"{name}.linear", WEIGHT_NORMED_POINTWISE_CONV))
        else:
            group, place = name.split(".")
            l_max = config.stage_l_max[kind.stage]
            table += _pair(theirs, name, f"{group}.{int(place) + 1}", config, l_max)
    return (
        ("init_conv.0.conv", "input", WEIGHT_NORMED_POINTWISE_CONV),
        ("fc_t1", "embedding.fc1", LINEAR),
        ("fc_t2", "embedding.fc2", LINEAR),
        *table,
        ("norm", "norm", SCALAR_NORM),
        *OUTPUT,
    )


def _pair(theirs: str, s4: str, ff: str, config: SaShiMiConfig, l_max: int) -> Iterator[tuple]:
    learned = [(name.replace("log_w_real", "inv_w_real"), ours, axes) for name, ours, axes in S4_KERNEL_PARAMETERS]
    kernel = (*learned, ("L", "L", l_max))
    yield f"{theirs}.fc_t", f"{s4}.step", LINEAR
    yield f"{theirs}.layer.D", f"{s4}.s4.D", "h->1h"
    yield f"{theirs}.layer.kernel.kernel", f"{s4}.s4.kernel", kernel
    yield f"{theirs}.{S4_OUTPUT[config.glu]}", f"{s4}.s4.output", POINTWISE_CONV
    yield f"{theirs}.ff.ff.0.conv", f"{ff}.ff1", WEIGHT_NORMED_POINTWISE_CONV
    yield f"{theirs}.ff.ff.2.conv", f"{ff}.ff2", WEIGHT_NORMED_POINTWISE_CONV
    yield f"{theirs}.norm1", f"{s4}.norm", SCALAR_NORM
    yield f"{theirs}.norm2", f"{ff}.norm", SCALAR_NORM
    if config.n_mels:
        yield f"{theirs}.upsample_conv2d", f"{s4}.upsampler.layers", _numbered(config, WEIGHT_NORMED_UPSAMPLE)
        yield f"{theirs}.mel_conv.conv", f"{s4}.condition", WEIGHT_NORMED_POINTWISE_CONV


def _numbered(config: DiffWaveConfig | SaShiMiConfig, layer: tuple) -> tuple:
    """The layers of an upsampler, which are named by their numbers."""
    return tuple((str(n), str(n), layer) for n in range(len(config.upsample)))


def _residual_block(config: DiffWaveConfig) -> tuple:
    condition = (
        ("upsample_conv2d", "upsampler.layers", _numbered(config, WEIGHT_NORMED_UPSAMPLE)),
        ("mel_conv.conv", "condition", WEIGHT_NORMED_POINTWISE_CONV),
    )
    return (
        ("fc_t", "step", LINEAR),
        ("dilated_conv_layer.conv", "dilated", WEIGHT_NORMED_CONV),
        *(condition if config.n_mels else ()),
        ("res_conv", "residual", WEIGHT_NORMED_POINTWISE_CONV),
        ("skip_conv", "skip", WEIGHT_NORMED_POINTWISE_CONV),
    )


def _diffwave_table(config: DiffWaveConfig) -> tuple:
    block = _residual_block(config)
    return (
        ("init_conv.0.conv", "input", WEIGHT_NORMED_POINTWISE_CONV),
        ("residual_layer.fc_t1", "embedding.fc1", LINEAR),
        ("residual_layer.fc_t2", "embedding.fc2", LINEAR),
        *((f"residual_layer.residual_{name}", name, block) for name in layers(config)),
        *OUTPUT,
    )


# lmnt-com/diffwave: its gate's first half is the sigmoid's, and one convolution gives the residual and the skip.
LMNT_GATES = (("weight", "kernel", "io->Oi1"), ("bias", "bias", "o->O"))
LMNT_BLOCK = (
    ("dilated_conv", "dilated", (("weight", "kernel", "kio->Oik"), ("bias", "bias", "o->O"))),
    ("diffusion_projection", "step", LINEAR),
)
LMNT_BLOCK_END = (
    ("output_projection.weight", "residual.kernel|skip.kernel", "io->oi1"),
    ("output_projection.bias", "residual.bias|skip.bias", "o->o"),
)


def _lmnt_table(config: DiffWaveConfig) -> tuple:
    first = range(1, len(config.upsample) + 1)
    upsampler = tuple((f"conv{n}", str(n - 1), UPSAMPLE) for n in first) if config.n_mels else ()
    condition = (("conditioner_projection", "condition", LMNT_GATES),) if config.n_mels else ()
    return (
        ("input_projection", "input", POINTWISE_CONV),
        ("diffusion_embedding.projection1", "embedding.fc1", LINEAR),
        ("diffusion_embedding.projection2", "embedding.fc2", LINEAR),
        ("spectrogram_upsampler", "upsampler.layers", upsampler),
        *(
            (name.replace("blocks", "residual_layers"), name, (*LMNT_BLOCK, *condition, *LMNT_BLOCK_END))
            for name in layers(config)
        ),
        ("skip_projection", "output1", POINTWISE_CONV),
        ("output_projection", "output2", POINTWISE_CONV),
    )


class Tensor(NamedTuple):
    """One tensor of the original's `state_dict`.

    Attributes:
      torch_name: its name there, for SaShiMi without the leading "sashimi.".
      torch_shape: its shape there.
      name: our weight's dotted name, or the names of several with bars between them.
      axes: our axes, "->", PyTorch's axes; empty for a buffer.
      l_max: of a buffer, the length whose kernel nodes it holds; 0 for a weight.
      sizes: of each of our weights along the axis o, where there are several.
    """

    torch_name: str
    torch_shape: tuple[int, ...]
    name: str
    axes: str = ""
    l_max: int = 0
    sizes: tuple[int, ...] = ()

    def to_ours(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """PyTorch's tensor as our weights by name."""
        ours, theirs = self.axes.split("->")
        array = self._swapped(array, theirs)
        theirs = theirs.lower()
        squeezed = array.reshape([n for n, axis in zip(array.shape, theirs, strict=True) if axis != "1"])
        whole = squeezed.transpose([theirs.replace("1", "").index(axis) for axis in ours])
        names = self.name.split("|")
        if len(names) == 1:
            return {self.name: np.ascontiguousarray(whole)}
        parts = np.split(whole, np.cumsum(self.sizes)[:-1], axis=ours.index("o"))
        return {name: np.ascontiguousarray(part) for name, part in zip(names, parts, strict=True)}

    def to_torch(self, weights: Mapping[str, np.ndarray | jax.Array]) -> np.ndarray:
        """Our weights, taken by name, as PyTorch's tensor."""
        ours, theirs = self.axes.split("->")
        parts = [np.asarray(weights[name]) for name in self.name.split("|")]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=ours.index("o"))
        order = [ours.index(axis) for axis in theirs.lower() if axis != "1"]
        return self._swapped(whole.transpose(order).reshape(self.torch_shape), theirs)

    def _swapped(self, array: np.ndarray, theirs: str) -> np.ndarray:
        return np.roll(array, array.shape[theirs.index("O")] // 2, theirs.index("O")) if "O" in theirs else array


def tensors(model: Mapping) -> list[Tensor]:
    """Every tensor of the original's `state_dict`, in its order, for a config's `model` section."""
    shapes = weight_shapes(model)
    return [_tensor(theirs, ours, below, shapes) for theirs, ours, below in _leaves("", "", _table(model))]


def torch_names(model: Mapping) -> list[str]:
    """The names of `tensors`, in the same order; no network is built for them."""
    return [name for name, _, _ in _leaves("", "", _table(model))]


def on_host(array: np.ndarray) -> jax.Array:
    """JAX's arrays are written to a checkpoint without the copy that NumPy's are."""
    return jax.device_put(array, jax.local_devices(backend="cpu")[0])


def kernel_lengths(model: Mapping) -> dict[str, int]:
    """{name of an S4 kernel, such as "down.0.s4.kernel": its l_max}."""
    leaves = _leaves("", "", _table(model))
    return {name.rpartition(".")[0]: l_max for _, name, l_max in leaves if isinstance(l_max, int)}


def _table(model: Mapping) -> tuple:
    config = model_config(model)
    if isinstance(config, SaShiMiConfig):
        return _sashimi_table(config) if config.version == 1 else _second_sashimi_table(config)
    if isinstance(config, DiffWaveConfig):
        return _diffwave_table(config) if config.weight_norm else _lmnt_table(config)
    raise UserError(f"the original's code has no network {model['name']!r}: only DiffWave and SaShiMi are converted")


def weight_shapes(model: Mapping) -> dict[str, tuple[int, ...]]:
    """{dotted name: shape} of our network, in the order of the original's `state_dict`.

    Layers of one kind have the same shapes, so a network with one of each is built, and costs no more than that.
    """
    small, layer_of_kind = template(model)
    abstract = _built_shapes(tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in small.items()))
    kinds = layers(model_config(model))
    shapes = {}
    for _, names, below in _leaves("", "", _table(model)):
        for name in names.split("|") if not isinstance(below, int) else ():
            layer = ".".join(name.split(".")[:2])
            like = f"{layer_of_kind[kinds[layer]]}{name.removeprefix(layer)}" if layer in kinds else name
            shapes[name] = abstract[like]
    return shapes


@functools.lru_cache(maxsize=16)
def _built_shapes(model: tuple[tuple[str, Hashable], ...]) -> dict[str, tuple[int, ...]]:
    _, abstract = weights.abstract(lambda rngs: build(dict(model), rngs=rngs))
    return {name: value.shape for name, value in abstract.items()}


def _leaves(torch_prefix: str, prefix: str, table: tuple) -> Iterator[tuple]:
    for theirs, ours, below in table:
        if isinstance(below, tuple):
            yield from _leaves(f"{torch_prefix}{theirs}.", f"{prefix}{ours}.", below)
        else:
            yield f"{torch_prefix}{theirs}", "|".join(f"{prefix}{name}" for name in ours.split("|")), below


def _tensor(torch_name: str, name: str, below: str | int, shapes: Mapping) -> Tensor:
    if isinstance(below, int):
        return Tensor(torch_name, () if torch_name.endswith(".L") else (below // 2 + 1, 2), name, l_max=below)
    ours, theirs = below.split("->")
    names = name.split("|")
    sizes = dict(zip(ours, shapes[names[0]], strict=True)) | {"1": 1}
    parts = tuple(shapes[name][ours.index("o")] for name in names) if len(names) > 1 else ()
    sizes |= {"o": sum(parts)} if parts else {}
    return Tensor(torch_name, tuple(sizes[axis] for axis in theirs.lower()), name, below, sizes=parts)
