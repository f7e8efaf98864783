"""A network's configuration from the names and shapes of the tensors in the original's `state_dict`."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from diffwave_jax.convert.original_config import GU, PHILSYN, OriginalConfig, diffusion_fields
from diffwave_jax.errors import UserError
from diffwave_jax.models import SaShiMiConfig
from diffwave_jax.models.layers import STEP_WIDTHS

Shapes = Mapping[str, tuple[int, ...]]
PUBLISHED_DILATION_CYCLES = {36: 12, 30: 10}  # by number of layers; no shape depends on the cycle
DIFFWAVE_LENGTH = 16000
DEFAULT_L_MAX = 16000  # SaShiMi's, in the original
MAX_LAYERS = 200  # of any one list; and these stages and states: more would take forever to set up, not to convert
MAX_POOLS = 6
MAX_STATES = 1024
MAX_CYCLE = 30
MAX_LENGTH = 2**24


class _Layer(NamedTuple):
    """The tensors of one module: {name within the module: shape}."""

    prefix: str
    shapes: Shapes

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        if name not in self.shapes:
            raise UserError(
                f"the checkpoint lacks the tensor {self.prefix}{name}, expected with {dimensions} dimensions"
            )
        if len(self.shapes[name]) != dimensions:
            raise UserError(
                f"the tensor {self.prefix}{name} has shape {self.shapes[name]}, where {dimensions} dimensions are "
                "expected: it is not one of the original's"
            )
        return self.shapes[name]

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.shapes)

    def layers(self, name: str) -> list["_Layer"]:
        """The modules name.0, name.1, ... up to the first gap."""
        groups = defaultdict(dict)
        for full_name, shape in self.shapes.items():
            if full_name.startswith(name):
                index, _, rest = full_name[len(name) :].partition(".")
                groups[index][rest] = shape
        found = []
        while (index := str(len(found))) in groups:
            found.append(_Layer(f"{self.prefix}{name}{index}.", groups[index]))
        if len(found) > MAX_LAYERS:
            raise UserError(f"the checkpoint has {len(found)} modules {self.prefix}{name}*, more than {MAX_LAYERS}")
        return found


class Told(NamedTuple):
    """What is known of a network besides its tensors' names and shapes.

    Attributes:
      dilation_cycle: DiffWave's; None where unknown.
      length: samples of a clip; None for what suits the network.
      kernel_lengths: {name of a buffer: the length that an S4 kernel's C is corrected for}.
      original: the original's own configuration.
    """

    dilation_cycle: int | None = None
    length: int | None = None
    kernel_lengths: Mapping[str, int] = MappingProxyType({})
    original: OriginalConfig = OriginalConfig({})


class Layout(NamedTuple):
    """A network as some PyTorch code names its tensors.

    Attributes:
      title: the network's name in reports.
      marker: a tensor that no other layout has under this name.
      infer: its tensors, and what else is known, to the config's `model` section.
      weight_normed: how the names of the modules end whose weight is stored as a direction and a length.
      prefix: of every name where the original's code saved it.
    """

    title: str
    marker: str
    infer: Callable[[_Layer, Told], dict]
    weight_normed: tuple[str, ...] = ()
    prefix: str = ""

    def model(self, shapes: Shapes, told: Told) -> dict:
        """The `model` section of the config; see `infer_model`."""
        return self.infer(_Layer("", shapes), told)


def layout_of(names: Collection[str]) -> Layout:
    """The layout that tensors of these names have.

    Raises:
      UserError: none that is known.
    """
    for layout in LAYOUTS:
        if layout.marker in names:
            return layout
    markers = " nor ".join(f"{layout.title}'s {layout.marker}" for layout in LAYOUTS)
    found = ", ".join(repr(name) for name in list(names)[:3]) or "no tensor"
    raise UserError(f"the checkpoint has neither {markers}: found {found}")


def infer_model(shapes: Shapes, *, dilation_cycle: int | None = None, length: int | None = None) -> dict:
    """The `model` section of the config.

    Args:
      shapes: {name: shape} of the `state_dict`, without a leading "sashimi.".
      dilation_cycle: DiffWave's, which shapes do not tell; None where the number of layers is a published one.
      length: samples of a clip; None for the longest that SaShiMi's l_max allows, for DiffWave 16000. It is taken for
        l_max too where the tensors that tell it (each kernel's omega and z) were not saved.

    Raises:
      UserError: names or shapes that belong to neither network, or an unknown dilation cycle.
    """
    return layout_of(shapes).model(shapes, Told(dilation_cycle, length))


def _diffwave(network: _Layer, told: Told) -> dict:
    blocks = network.layers("residual_layer.residual_blocks.")
    channels = network.shape("init_conv.0.conv.bias", 1)[0]
    model = {
        "name": "diffwave",
        "channels": channels,
        "n_layers": len(blocks),
        "dilation_cycle": _dilation_cycle(len(blocks), told),
        "length": told.length or DIFFWAVE_LENGTH,
    }
    model |= _changed("skip_channels", _skip_channels(blocks, channels), channels)
    model |= _step_widths(network, "residual_layer.fc_t1", "residual_layer.fc_t2")
    model |= _changed("step_in_residual", told.original.system != GU, True)
    if not (blocks and blocks[0].has("mel_conv.")):
        return model
    if told.original.system not in (PHILSYN, GU):
        raise UserError(
            f"a DiffWave vocoder of {len(blocks)} layers: {PHILSYN} and {GU} name its tensors alike and compute "
            "differently; give its own configuration by --config FILE.json"
        )
    return model | _mel_fields(blocks[0])


def _dilation_cycle(n_layers: int, told: Told) -> int:
    said = told.original.whole("dilation_cycle", "dilation_cycle_length")
    cycle = told.dilation_cycle or said or PUBLISHED_DILATION_CYCLES.get(n_layers)
    if cycle is None:
        raise UserError(
            f"a DiffWave of {n_layers} layers: its file does not say its dilation cycle; give --dilation-cycle N "
            "(`dilation_cycle` in the original's config.json)"
        )
    if not 1 <= cycle <= MAX_CYCLE:
        raise UserError(f"the dilation cycle is {cycle}; it must be between 1 and {MAX_CYCLE}")
    return cycle


def _skip_channels(blocks: list[_Layer], channels: int) -> int:
    return blocks[0].shape("skip_conv.bias", 1)[0] if blocks else channels


def _changed(field: str, value: object, usual: object) -> dict:
    """A field that is not what it usually is."""
    return {} if value == usual else {field: value}


def _step_widths(network: _Layer, first: str, second: str) -> dict:
    hidden, sinusoids = network.shape(f"{first}.weight", 2)
    return _changed("step_widths", (sinusoids, hidden, network.shape(f"{second}.weight", 2)[0]), STEP_WIDTHS)


def _mel_fields(block: _Layer, name: str = "upsample_conv2d.") -> dict:
    """Bands of the condition, and the factors of a block's upsampler: a filter spans two frames."""
    factors = tuple(layer.shape("weight_v", 4)[3] // 2 for layer in block.layers(name))
    return {"n_mels": block.shape("mel_conv.conv.weight_v", 3)[1], **_changed("upsample", factors, (16, 16))}


def _lmnt(network: _Layer, told: Told) -> dict:
    blocks = network.layers("residual_layers.")
    model = {
        "name": "diffwave",
        "channels": network.shape("input_projection.bias", 1)[0],
        "n_layers": len(blocks),
        "dilation_cycle": _dilation_cycle(len(blocks), told),
        "weight_norm": False,
        "step_in_residual": False,
        "step_table": diffusion_fields(told.original, "a network of lmnt's")["num_steps"],
        **_step_widths(network, "diffusion_embedding.projection1", "diffusion_embedding.projection2"),
    }
    if not (blocks and blocks[0].has("conditioner_projection.")):
        return model | {"length": told.length or told.original.whole_or(5 * 22050, "audio_len")}
    frames = told.original.whole_or(62, "crop_mel_frames")
    bands = blocks[0].shape("conditioner_projection.weight", 3)[1]
    return model | {"length": told.length or frames * 256, "n_mels": bands, "shared_upsampler": True}


def _second_sashimi(network: _Layer, told: Told) -> dict:
    d_model = network.shape("init_conv.0.conv.bias", 1)[0]
    down, center, up = (network.layers(f"{group}_layers.") for group in "dcu")
    pools = [layer for layer in down if layer.has("linear.")]
    if len(pools) > MAX_POOLS:
        raise UserError(f"the checkpoint has {len(pools)} poolings, more than {MAX_POOLS}")
    stages = [[layer for layer in stage if _is_s4(layer)] for stage in [*_stages_of(up, len(pools)), center]]
    blocks = [layer for stage in stages for layer in stage]
    if not blocks:
        raise UserError("the checkpoint has no S4 layers in c_layers and u_layers: it is no SaShiMi")
    ff, width = blocks[0].shape("ff.ff.0.conv.weight_v", 3)[:2]
    pooling = _pooling(pools, d_model, "linear.conv.weight_v", 3)
    l_max = [_buffer_length(stage[0], told) if stage else None for stage in stages]
    longest = _longest_clip(l_max, pooling["pool"])
    return {
        "name": "sashimi",
        "version": 2,
        "d_model": d_model,
        "n_layers": _one_if_equal([len(stage) for stage in stages]),
        **pooling,
        "l_max": _one_if_equal([value or longest for value in l_max]),
        "length": told.length or longest,
        "unet": any(_is_s4(layer) for layer in down) or not any(stages[:-1]),
        **_s4_fields(blocks, "inv_w_real"),
        "ff": max(1, ff // width),
        **_step_widths(network, "fc_t1", "fc_t2"),
        **({**_mel_fields(blocks[0]), "crop_condition": True} if blocks[0].has("mel_conv.") else {}),
    }


def _stages_of(up: list[_Layer], n_pools: int) -> list[list[_Layer]]:
    """The layers of the way up of each stage, from the full rate down: each begins with a pool."""
    stages: list[list[_Layer]] = []
    for layer in up:
        if layer.has("linear."):
            stages.insert(0, [])
        elif stages:
            stages[0].append(layer)
    if len(stages) != n_pools:
        raise UserError(f"the checkpoint has {n_pools} poolings in d_layers, but {len(stages)} in u_layers")
    return stages


def _buffer_length(layer: _Layer, told: Told) -> int:
    name = f"{layer.prefix}layer.kernel.kernel.L"
    length = told.kernel_lengths.get(name, 0)
    if not 1 <= length <= MAX_LENGTH:
        raise UserError(
            f"the kernel length {name} is {length}: the network never ran, so its C is not yet what it computes with; "
            "save it after its first step"
        )
    return length


def _sashimi(network: _Layer, told: Told) -> dict:
    length = told.length
    d_model = network.shape("init_conv.0.conv.bias", 1)[0]
    down, center = network.layers("d_layers."), network.layers("c_layers.")
    up = [stage.layers("") for stage in network.layers("u_layers.")]
    stages = [[layer for layer in stage if _is_s4(layer)] for stage in [*reversed(up), center]]
    pools = [layer for layer in down if layer.has("linear.")]
    if len(pools) != len(up):
        raise UserError(f"the checkpoint has {len(pools)} poolings in d_layers, but {len(up)} stages in u_layers")
    if len(pools) > MAX_POOLS:
        raise UserError(f"the checkpoint has {len(pools)} poolings, more than {MAX_POOLS}")
    l_max, pooling = _l_max(stages), _pooling(pools, d_model)
    largest = max(filter(None, l_max), default=length or DEFAULT_L_MAX)
    return {
        "name": "sashimi",
        "d_model": d_model,
        "n_layers": _one_if_equal([len(stage) for stage in stages]),
        **pooling,
        "l_max": _one_if_equal([value or largest for value in l_max]),
        "length": length or _longest_clip(l_max, pooling["pool"]),
        "unet": any(_is_s4(layer) for layer in down) or not any(stages[:-1]),
        **_s4_fields([layer for stage in stages for layer in stage]),
        **_feed_forward_fields([*down, *center, *(layer for stage in up for layer in stage)]),
        **_step_widths(network, "fc_t1", "fc_t2"),
    }


def _is_s4(layer: _Layer) -> bool:
    return layer.has("layer.kernel.")


def _one_if_equal(values: list[int]) -> int | tuple[int, ...]:
    return values[0] if len(set(values)) == 1 else tuple(values)


def _l_max(stages: list[list[_Layer]]) -> list[int | None]:
    """Each stage's l_max, from the size of its first kernel's buffer of nodes; None for a stage without one."""
    return [_kernel_l_max(stage[0]) if stage else None for stage in stages]


def _kernel_l_max(layer: _Layer) -> int | None:
    found = [name for name in ("layer.kernel.kernel.omega", "layer.kernel.kernel.z") if name in layer.shapes]
    return 2 * (layer.shape(found[0], 2)[0] - 1) if found else None


def _longest_clip(l_max: list[int | None], pool: tuple[int, ...]) -> int:
    """The most samples that every stage's l_max allows."""
    lengths = [value * math.prod(pool[:stage]) for stage, value in enumerate(l_max) if value]
    return min(lengths, default=SaShiMiConfig.length)


def _pooling(pools: list[_Layer], d_model: int, weight: str = "linear.weight_v", dimensions: int = 2) -> dict:
    """`pool` and `expand`: a DownPool's weight is (H * expand, H * pool)."""
    pool, expand = [], SaShiMiConfig.expand
    for layer in pools:
        outputs, inputs = layer.shape(weight, dimensions)[:2]
        if inputs % d_model or outputs % d_model:
            raise UserError(
                f"the tensor {layer.prefix}{weight} has shape {(outputs, inputs)}, where multiples of its "
                f"stage's {d_model} channels are expected"
            )
        pool.append(inputs // d_model)
        expand = outputs // d_model
        d_model = outputs
    return {"pool": tuple(pool), "expand": expand}


def _s4_fields(layers: list[_Layer], real_part: str = "log_w_real") -> dict:
    if not layers:
        return {}
    heads, pairs = layers[0].shape("layer.kernel.kernel.C", 4)[1:3]
    if 2 * pairs > MAX_STATES:
        raise UserError(f"the S4 kernels have {2 * pairs} states, more than {MAX_STATES}")
    tied = layers[0].shape(f"layer.kernel.kernel.{real_part}", 2)[0] == 1 < heads
    return {"d_state": 2 * pairs, "tie_state": tied, "glu": layers[0].has("layer.output_linear.0.")}


def _feed_forward_fields(layers: list[_Layer]) -> dict:
    for layer in layers:
        if layer.has("layer.ff."):
            outputs, inputs = layer.shape("layer.ff.0.0.weight", 2)
            return {"ff": max(1, outputs // inputs)}
    return {}


UPSAMPLES = tuple(f"upsample_conv2d.{n}" for n in range(4))
SECOND_SASHIMI = Layout(
    "SaShiMi",
    "norm.m",
    _second_sashimi,
    (
        *("init_conv.0.conv", "linear.conv", "ff.0.conv", "ff.2.conv", "mel_conv.conv", "final_conv.0.conv"),
        *UPSAMPLES,
    ),
)
LMNT_DIFFWAVE = Layout("DiffWave", "diffusion_embedding.projection1.weight", _lmnt)
SASHIMI = Layout(
    "SaShiMi", "fc_t1.weight", _sashimi, ("init_conv.0.conv", "linear", "final_conv.0.conv"), prefix="sashimi."
)
DIFFWAVE = Layout(
    "DiffWave",
    "residual_layer.fc_t1.weight",
    _diffwave,
    (
        *("init_conv.0.conv", "dilated_conv_layer.conv", "mel_conv.conv", "res_conv", "skip_conv", "final_conv.0.conv"),
        *UPSAMPLES,
    ),
)
LAYOUTS = (SECOND_SASHIMI, LMNT_DIFFWAVE, SASHIMI, DIFFWAVE)
