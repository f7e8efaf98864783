"""Which tensor of the original's `state_dict` is which of our weights: one table, read in both directions.

A leaf of the table is (torch name, our name, axes); axes such as "io->oi1" name our axes, then PyTorch's, a 1 being an
axis of length one. A buffer, which is not ours, is (torch name, name, l_max). A branch is (torch name, our name,
table). Every table is in the order of the original's `state_dict`, in which its optimizer counts the parameters too.
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
LAYER_NORM = (("weight", "scale", "h->h"), ("bias", "bias", "h->h"))

S4_KERNEL_PARAMETERS = (
    ("C", "C", "dhmc->dhmc"),
    ("log_dt", "log_dt", "h->h"),
    ("B", "B", "hmc->1hmc"),
    ("P", "P", "hmc->1hmc"),
    ("log_w_real", "log_w_real", "hm->hm"),
    ("w_imag", "w_imag", "hm->hm"),
)
BUFFERS = (".omega", ".z")  # of those kernels: computed, not learned
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


RESIDUAL_BLOCK = (
    ("fc_t", "step", LINEAR),
    ("dilated_conv_layer.conv", "dilated", WEIGHT_NORMED_CONV),
    ("res_conv", "residual", WEIGHT_NORMED_POINTWISE_CONV),
    ("skip_conv", "skip", WEIGHT_NORMED_POINTWISE_CONV),
)


def _diffwave_table(config: DiffWaveConfig) -> tuple:
    return (
        ("init_conv.0.conv", "input", WEIGHT_NORMED_POINTWISE_CONV),
        ("residual_layer.fc_t1", "embedding.fc1", LINEAR),
        ("residual_layer.fc_t2", "embedding.fc2", LINEAR),
        *((f"residual_layer.residual_{name}", name, RESIDUAL_BLOCK) for name in layers(config)),
        *OUTPUT,
    )


class Tensor(NamedTuple):
    """One tensor of the original's `state_dict`.

    Attributes:
      torch_name: its name there, for SaShiMi without the leading "sashimi.".
      torch_shape: its shape there.
      name: our weight's dotted name.
      axes: our axes, "->", PyTorch's axes; empty for a buffer.
      l_max: of a buffer, the length whose kernel nodes it holds; 0 for a weight.
    """

    torch_name: str
    torch_shape: tuple[int, ...]
    name: str
    axes: str = ""
    l_max: int = 0

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """PyTorch's layout to ours."""
        ours, theirs = self.axes.split("->")
        squeezed = array.reshape([n for n, axis in zip(array.shape, theirs, strict=True) if axis != "1"])
        return np.ascontiguousarray(squeezed.transpose([theirs.replace("1", "").index(axis) for axis in ours]))

    def to_torch(self, array: np.ndarray | jax.Array) -> np.ndarray:
        """Our layout to PyTorch's."""
        ours, theirs = self.axes.split("->")
        return (
            np.asarray(array).transpose([ours.index(axis) for axis in theirs if axis != "1"]).reshape(self.torch_shape)
        )


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
    return {name.removesuffix(".omega"): l_max for _, name, l_max in leaves if name.endswith(".omega")}


def _table(model: Mapping) -> tuple:
    config = model_config(model)
    if isinstance(config, SaShiMiConfig):
        return _sashimi_table(config)
    if isinstance(config, DiffWaveConfig):
        return _diffwave_table(config)
    raise UserError(f"the original's code has no network {model['name']!r}: only DiffWave and SaShiMi are converted")


def weight_shapes(model: Mapping) -> dict[str, tuple[int, ...]]:
    """{dotted name: shape} of our network, in the order of the original's `state_dict`.

    Layers of one kind have the same shapes, so a network with one of each is built, and costs no more than that.
    """
    small, layer_of_kind = template(model)
    abstract = _built_shapes(tuple((key, tuple(v) if isinstance(v, list) else v) for key, v in small.items()))
    kinds = layers(model_config(model))
    shapes = {}
    for _, name, below in _leaves("", "", _table(model)):
        if not isinstance(below, int):
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
            yield f"{torch_prefix}{theirs}", f"{prefix}{ours}", below


def _tensor(torch_name: str, name: str, below: str | int, shapes: Mapping) -> Tensor:
    if isinstance(below, int):
        return Tensor(torch_name, (below // 2 + 1, 2), name, l_max=below)
    ours, theirs = below.split("->")
    sizes = dict(zip(ours, shapes[name], strict=True)) | {"1": 1}
    return Tensor(torch_name, tuple(sizes[axis] for axis in theirs), name, below)
