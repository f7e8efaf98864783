"""What each field of a config may hold: one table of kinds and ranges."""

import dataclasses
import math
import typing
from collections.abc import Callable
from typing import Any

from diffwave_jax.models import NETWORKS

LARGEST_WHOLE = 2**31 - 1  # what the devices' integers hold
LARGEST_SEED = 2**32 - 1  # what JAX keeps of a seed

Check = Callable[[Any], bool]


@dataclasses.dataclass(frozen=True)
class Rule:
    """What one field may hold.

    Attributes:
      words: that in words, to follow "it must be".
      is_kind: whether a value is of the right kind at all, such as a whole number.
      in_range: whether a value of that kind is one that means something.
    """

    words: str
    is_kind: Check
    in_range: Check = lambda value: True


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _whole(low: int, high: int = LARGEST_WHOLE) -> Rule:
    return Rule(f"a whole number from {low} to {high}", _is_whole, lambda value: low <= value <= high)


def _number(words: str, in_range: Check) -> Rule:
    return Rule(f"a number {words}", _is_number, in_range)


def _choice(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", _is_text, lambda value: value in names)


def _several(item: Rule) -> Rule:
    """Several values of one kind in a tuple, or none."""
    return Rule(f"a tuple of values, each {item.words}", _all(item.is_kind), _all(item.in_range))


def _all(check: Check) -> Check:
    return lambda value: isinstance(value, tuple) and all(check(one) for one in value)


ENDS = Rule(
    "two numbers from 0 on, the lower one first",
    _all(_is_number),
    lambda value: len(value) == 2 and 0 <= value[0] <= value[1],
)
EARLY = Rule(
    "no numbers, or three: a diffusion step from 0 on, guidance, and a noise scale from 0 to 2",
    _all(_is_number),
    lambda value: not value or (len(value) == 3 and value[0] >= 0 and 0 <= value[2] <= 2),
)


def network_rules(name: str) -> dict[str, Rule]:
    """The kinds of the fields of a `model` section; `diffwave_jax.models.model_config` knows their ranges.

    Args:
      name: a network in `diffwave_jax.models.NETWORKS`.
    """
    hints = typing.get_type_hints(NETWORKS[name][1])
    return {"model.name": NETWORK} | {f"model.{field}": _of_type(hint) for field, hint in hints.items()}


def _of_type(hint: Any) -> Rule:
    words = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
    return Rule(f"of type {words}", lambda value: _is(value, hint))


def _is(value: object, hint: Any) -> bool:
    """Whether a value is of a type as the networks' configs declare them."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        return value in parts
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is(item, parts[0]) for item in value)
    if parts:
        return any(_is(value, part) for part in parts)
    return _is_whole(value) if hint is int else isinstance(value, hint)


TEXT = Rule("text", _is_text)
FLAG = Rule("True or False", lambda value: isinstance(value, bool))
NETWORK = _choice(*NETWORKS)
NUMBER = _number("that is finite", lambda value: True)
FROM_0 = _number("from 0 on", lambda value: value >= 0)
ABOVE_0 = _number("above 0", lambda value: value > 0)
BETWEEN_0_AND_1 = _number("above 0 and below 1", lambda value: 0 < value < 1)
SHARE = _number("from 0 to 1", lambda value: 0 <= value <= 1)
# A class or a speaker; the settings of sampling know which there are.
CHOSEN = Rule("a whole number or a name", lambda value: _is_whole(value) or _is_text(value))

RULES = {
    "seed": _whole(0, LARGEST_SEED),
    "diffusion.num_steps": _whole(1),
    "diffusion.beta_min": BETWEEN_0_AND_1,
    "diffusion.beta_max": BETWEEN_0_AND_1,
    "diffusion.beta_power": ABOVE_0,
    "diffusion.prediction": _choice("noise", "v"),
    "diffusion.signal_scale": ABOVE_0,
    "data.source": _choice("speech_commands", "folder", "ljspeech"),
    "data.archive": TEXT,
    "data.data_dir": TEXT,
    "data.classes": _several(TEXT),
    "data.speakers": _several(TEXT),
    "data.sample_rate": _whole(1),
    "data.length": _whole(1),
    "data.whole": FLAG,
    "data.mel_of": _choice("crop", "recording"),
    "data.mels": TEXT,
    "data.trim_db": FROM_0,
    "data.rms": FROM_0,
    "data.fade": _whole(0),
    "data.windows": FLAG,
    "data.shift": _whole(0),
    "data.gain": ENDS,
    "train.task": _choice("diffusion", "classification", "autoregression", "distillation"),
    "mel.kind": _choice("none", "lmnt", "tacotron"),
    "mel.n_fft": _whole(2, 2**20),
    "mel.hop": _whole(1, 2**20),
    "mel.window": _whole(2, 2**20),
    "mel.fmin": FROM_0,
    "mel.fmax": FROM_0,
    "train.num_steps": _whole(1),
    "train.batch_size": _whole(1),
    "train.accumulate": _whole(1),
    "train.learning_rate": FROM_0,
    "train.state_learning_rate": FROM_0,
    "train.muon_learning_rate": FROM_0,
    "train.weight_decay": FROM_0,
    "train.schedule": _choice("constant", "drop", "cosine", "decay", "plateau"),
    "train.drop_step": _whole(0),
    "train.drop_factor": FROM_0,
    "train.init_from": TEXT,
    "train.patience": _whole(0),
    "train.decay_steps": _whole(1),
    "train.warmup_steps": _whole(0),
    "train.clip_norm": FROM_0,
    "train.ema_decay": _number("from 0 to below 1", lambda value: 0 <= value < 1),
    "train.start_token": FLAG,
    "train.count_padding": FLAG,
    "train.loss": _choice("l2", "l1"),
    "train.label_dropout": SHARE,
    "train.spread_steps": FLAG,
    "train.step_weight_power": FROM_0,
    "train.snr_limit": FROM_0,
    "train.log_every": _whole(0),
    "train.checkpoint_every": _whole(1),
    "train.keep": _whole(1),
    "train.keep_every": _whole(0),
    "train.validate_every": _whole(0),
    "train.sample_every": _whole(0),
    "teacher": TEXT,
    "distill.levels": _whole(1),
    "distill.substeps": _whole(1),
    "distill.guidance": NUMBER,
    "distill.noise_scale": _number("from 0 to 2", lambda value: 0 <= value <= 2),
    "distill.own": SHARE,
    "distill.walk": _several(_whole(0)),
    "distill.starts": _several(_whole(0)),
    "distill.solver": _choice("ddim", "dpm++"),
    "distill.guided_steps": Rule(
        f"no numbers, or {ENDS.words}", ENDS.is_kind, lambda value: not value or ENDS.in_range(value)
    ),
    "distill.guide_memory": FROM_0,
    "distill.early": EARLY,
    "distill.fingerprint": TEXT,
    "sample.steps": _whole(1),
    "sample.levels": _several(_whole(0)),
    "sample.distilled": FLAG,
    "sample.polish": _whole(0),
    "sample.match": _whole(0),
    "sample.sampler": TEXT,
    "sample.digit": _several(CHOSEN),
    "sample.speaker": _several(CHOSEN),
    "sample.guidance": NUMBER,
    "sample.eta": FROM_0,
    "sample.noise_scale": FROM_0,
    "sample.clamp": FROM_0,
    "sample.guided_steps": _several(FROM_0),
    "sample.guide_memory": FROM_0,
    "sample.early": EARLY,
}
OPTIONAL = (
    "train.state_learning_rate",
    "train.muon_learning_rate",
    "distill.guidance",
    "distill.noise_scale",
    "distill.guided_steps",
    "distill.guide_memory",
    "distill.early",
    "sample.steps",
    "sample.sampler",
    "sample.eta",
    "sample.polish",
)  # None for what is usual
