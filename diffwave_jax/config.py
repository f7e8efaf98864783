"""The fields of a config, with their defaults; a file in `configs/` fills in one experiment."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping

from ml_collections import ConfigDict, config_dict

from diffwave_jax.config_check import UnknownField, check_kinds
from diffwave_jax.digits import DIGITS
from diffwave_jax.errors import UserError
from diffwave_jax.models import NETWORKS

DENOISING = ("diffusion", "distillation")  # tasks whose networks make clips by diffusion
FORMER_FIELDS = ("loss_power", "step_weighting")  # of the section train in older checkpoints; without effect now


def default_config() -> ConfigDict:
    """Every section and field but `model`, which `model_section` makes; the recipe is the released models' own."""
    return ConfigDict(
        {
            "seed": 0,
            "diffusion": diffusion_section(),
            "data": data_section(),
            "mel": mel_section(),
            "train": train_section(),
            "teacher": "",  # "distillation": the checkpoint, or the name of the pretrained model, that it learns from
            "distill": distill_section(),
            "sample": sample_section(),
        }
    )


def model_section(name: str, **fields) -> ConfigDict:
    """The `model` section for a network of `diffwave_jax.models`: its name and all its fields, some of them given."""
    config_class = NETWORKS[name][1]
    hints = typing.get_type_hints(config_class)
    section: dict[str, typing.Any] = {"name": name}
    for field in dataclasses.fields(config_class):
        value = fields.pop(field.name, field.default)
        section[field.name] = config_dict.placeholder(str) if value is None else _any_kind(value, hints[field.name])
    if fields:
        raise UnknownField(f"unknown model field {min(fields)!r} for {name}: known fields are {', '.join(section)}")
    return ConfigDict(section)


def _any_kind(value: object, hint: object) -> object:
    """A value, replaceable by one of another type where the field takes both, such as a number and a tuple."""
    several = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return config_dict.FieldReference(value, field_type=object) if several else value


def diffusion_section() -> ConfigDict:
    """The noise schedule."""
    return ConfigDict(
        {
            "num_steps": 200,
            "beta_min": 1e-4,
            "beta_max": 0.02,
            "beta_power": 1.0,  # beta ** (1 / beta_power) is linear: higher means more steps with little noise
            "prediction": "noise",  # what the network's output is; or "v", see `diffusion.noise_in`
            "signal_scale": 1.0,  # the network sees audio times this; louder audio keeps its detail at higher noise
        }
    )


def data_section() -> ConfigDict:
    """Where the clips come from and how they are cut."""
    return ConfigDict(
        {
            "source": "speech_commands",  # or "folder": any folder of audio files; or "ljspeech"
            "archive": "",  # a folder or .tar.gz; empty downloads Speech Commands v0.02 or LJ Speech
            "data_dir": "",  # where prepared clips are kept; empty for the user's cache folder
            "classes": DIGITS,
            "speakers": (),  # names of the speakers that labels tell apart, in order; as many as model.n_speakers
            "sample_rate": 16000,
            "length": 16000,  # samples of a clip
            "whole": False,  # keep recordings whole; of a vocoder's, a random part of `length` is taken each time
            "mel_of": "crop",  # or "recording": a vocoder's mel of each part, or cut out of the whole recording's
            "mels": "",  # a folder with another system's mel of each recording, NAME.npy for NAME.wav
            "trim_db": 0.0,  # cut leading and trailing parts this far below the peak; 0 leaves them
            "rms": 0.0,  # scale clips to this RMS where their peak allows; 0 leaves them
            "fade": 0,  # fade clips in and out over this many samples; 0 leaves their ends
            "windows": False,  # source "folder": cut each file into as many clips as it fills, for music
            "shift": 0,  # augmentation: largest random shift, in samples
            "gain": (1.0, 1.0),  # augmentation: range of a random factor
        }
    )


def mel_section() -> ConfigDict:
    """The mel spectrograms that a vocoder listens to, of `model.n_mels` bands; see `diffwave_jax.mel`."""
    return ConfigDict(
        {
            "kind": "none",  # "lmnt" (decibels, 0 to 1) or "tacotron" (natural logarithms) for a vocoder
            "n_fft": 1024,
            "hop": 256,  # samples between frames; the product of model.upsample
            "window": 1024,  # samples of each frame
            "fmin": 0.0,  # Hz
            "fmax": 8000.0,  # Hz; 0 for half the sample rate
        }
    )


def train_section() -> ConfigDict:
    """Optimiser, batch, logging and checkpoints."""
    return ConfigDict(
        {
            "task": "diffusion",  # or "classification", "autoregression" or "distillation"
            # A checkpoint or pretrained model whose weights a run begins with, where their name and shape fit.
            "init_from": "",
            "num_steps": 800_000,
            "batch_size": 12,  # over all devices and hosts
            "accumulate": 1,  # micro-batches per step
            "learning_rate": 2e-4,
            "state_learning_rate": config_dict.placeholder(float),  # of S4's dt, A, P, Q and B; None for the same
            "muon_learning_rate": config_dict.placeholder(float),  # matrices by Muon at this rate; None: all by Adam
            "weight_decay": 0.0,  # decoupled, as AdamW's; not of those, nor of biases and norms inside the stages
            "schedule": "constant",  # or "drop", "cosine", "decay" or "plateau"
            "drop_step": 500_000,  # "drop": from here on times drop_factor
            "drop_factor": 0.2,  # of "plateau" too
            "patience": 20,  # "plateau": it drops after more validations than this without a better loss
            "decay_steps": 1000,  # "decay": the last ones, over which it falls to 0
            "warmup_steps": 0,
            "clip_norm": 0.0,  # largest global gradient norm; 0 for no clipping
            "ema_decay": 0.0,  # 0 for no EMA
            "start_token": True,  # "autoregression": the first sample is predicted too; else clips have one more
            "count_padding": False,  # "autoregression": zeros that fill up shorter clips count in the loss
            "loss": "l2",  # or "l1": squares or absolute values of the errors
            "label_dropout": 0.1,  # share of labels hidden from a conditional network
            "spread_steps": False,  # a batch's diffusion steps evenly spread instead of independent of each other
            # Errors at step t are weighted by alpha_bar[t] ** -step_weight_power: 0 as in DDPM, 1 as in v-prediction.
            # A weight by step leaves the best prediction the mean; one by the error would favour short, quiet clips.
            "step_weight_power": 0.0,
            # Above 0: those with a higher ratio of signal to noise weigh less, by this over the ratio (min-SNR; Hang et
            # al., 2303.09556). Where there is little noise, it is mostly the recordings' own that is left to predict.
            "snr_limit": 0.0,
            "log_every": 50,
            "checkpoint_every": 10_000,
            "keep": 3,  # newest checkpoints kept
            "keep_every": 100_000,  # and those at multiples of this; 0 for none
            "validate_every": 0,  # steps between losses on the validation split; 0 for never
            "sample_every": 0,  # steps between clips in the log; 0 for never
        }
    )


def distill_section() -> ConfigDict:
    """How the task "distillation" teaches a network to take few steps; see `diffwave_jax.training.distillation`."""
    return ConfigDict(
        {
            "levels": 4,  # network evaluations a clip that the student will take
            "substeps": 3,  # of the teacher for each of them; a teacher that is a student itself takes its own
            "guidance": config_dict.placeholder(float),  # the teacher's guidance scale; None for its usual one
            # A factor on the noise that each of the teacher's steps leaves, None for 1: below 1 where its clips are
            # noisy, above 1 where too smooth, as a student's may be. Not that of `sample`, which is for fresh noise.
            "noise_scale": config_dict.placeholder(float),
            # Lowest and highest diffusion step at which the teacher is guided, () for all; None for its usual ones.
            "guided_steps": config_dict.placeholder(tuple),
            "guide_memory": config_dict.placeholder(float),  # as in `sample`; None for the teacher's usual one
            # A diffusion step, and guidance and noise scale at that step and all noisier ones; () for no others, None
            # for the teacher's usual guidance there.
            "early": config_dict.placeholder(tuple),
            "own": 0.5,  # share of the student's inputs that come from itself, the others from the teacher
            # The rest is filled in from the teacher; `walk` and `starts` may be given.
            "walk": (),  # the teacher's diffusion steps, noisiest first
            "starts": (),  # those of them where the student takes a step, instead of `levels` that are evenly apart
            "solver": "dpm++",  # or "ddim"
            "fingerprint": "",  # of the teacher's weights
        }
    )


def sample_section() -> ConfigDict:
    """How the model samples unless told otherwise."""
    return ConfigDict(
        {
            "sampler": config_dict.placeholder(str),  # None for dpm++
            "steps": config_dict.placeholder(int),  # None for the sampler's usual number, 25 for dpm++
            "levels": (),  # the diffusion steps themselves, noisiest first; none for those of the sampler
            "distilled": False,  # whether the network was distilled to these levels, and knows no others
            "polish": config_dict.placeholder(int),  # diffusion step of a last posterior-mean pass; None for none
            "match": 0,  # rounds that pull a vocoder's audio to its mel in each step, see `diffwave_jax.mel_match`
            "digit": (),  # classes that clips take in turn; none for a model without, or to leave the choice to it
            "speaker": (),  # speakers that clips take in turn; all of them if none is named
            "guidance": 1.0,
            "eta": config_dict.placeholder(float),  # share of fresh noise; None for the sampler's usual one
            "noise_scale": 1.0,  # factor on the fresh noise of each step, for samplers that have one
            "clamp": 0.0,  # ancestral samplers keep the noisy audio within this of 0 after every step; 0 for no limit
            "guided_steps": (),  # lowest and highest diffusion step at which guidance is applied; all if not given
            "guide_memory": 0.0,  # seconds that a SaShiMi hears in what guidance leads away from; 0 for all it can
            # A diffusion step, and guidance and noise scale at that step and all noisier ones; none for no others.
            "early": (),
        }
    )


def to_dict(config: ConfigDict) -> dict:
    """The config as plain data that JSON keeps exactly (tuples become lists)."""
    return json.loads(json.dumps(config.to_dict()))


def from_dict(data: Mapping) -> ConfigDict:
    """The config that `to_dict` wrote, with defaults for fields it does not have.

    Raises:
      UnknownField: a field that this code does not know; newer code may have written it.
      UserError: something else than a config, or a value of the wrong kind.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("model"), Mapping):
        raise UserError("this is not the config of a model: it has no section model")
    model = {name: _immutable(value) for name, value in data["model"].items()}
    name = model.pop("name", None)
    if not isinstance(name, str) or name not in NETWORKS:
        raise UserError(f"model.name is {name!r}; it must be one of {', '.join(sorted(NETWORKS))}")
    config = default_config()
    config.model = model_section(name)
    for name, value in data.items():
        if name == "model":
            _fill(config.model, model)
        elif isinstance(value, Mapping) and isinstance(config.get(name), ConfigDict):
            _fill(config[name], value)
        else:
            _fill(config, {name: value})
    check_kinds(config)
    return config


def _fill(section: ConfigDict, values: Mapping) -> None:
    with section.ignore_type():
        for name, value in values.items():
            if name not in FORMER_FIELDS:
                section[name] = _immutable(value)


def _immutable(value: object) -> object:
    """JSON's lists as tuples."""
    return tuple(_immutable(item) for item in value) if isinstance(value, list) else value
