"""How clips are asked for: what a user says, and what the model does where nothing is said."""

import dataclasses
import math
import operator
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float64, Real
from ml_collections import ConfigDict

from diffwave_jax.config import sample_section
from diffwave_jax.errors import UserError
from diffwave_jax.generation.choices import Choice, check_numbers, class_names, numbers_of, speaker_names
from diffwave_jax.generation.inputs import ArrayLike
from diffwave_jax.generation.samplers import usual_steps
from diffwave_jax.models import SaShiMiConfig, labels, model_config

LARGEST_SEED = 2**32 - 1  # what JAX keeps of a seed
USUAL_SAMPLER = "dpm++"  # of a model whose config names none

Value = TypeVar("Value")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that, with the model and a clip's index, determines the clip; `Settings.for_model` makes them.

    Attributes:
      sampler: a name in `diffwave_jax.generation.samplers.SAMPLERS`.
      steps: evaluations of the network.
      seed: of all randomness, 0 to 2^32 - 1.
      eta: share of fresh noise, 0 to 1, for the samplers that have one; None for the sampler's usual one.
      noise_scale: factor on the fresh noise of each step, 0 to 2: below 1 for cleaner clips that vary less.
      digit: numbers of the classes that the clips take in turn by their index; none for no class.
      speaker: of a model that tells speakers apart, numbers of those who say the digits, in turns such that each says
        every digit asked for; none for all of them.
      guidance: classifier-free guidance scale; 1 for the plain conditional model.
      levels: the diffusion steps of the chain, noisiest first; none for those of the sampler's usual spacing.
      polish: the diffusion step of a posterior-mean pass after the chain, see `diffwave_jax.generation.samplers.
        polished`; None for none. It takes one evaluation more than `steps`.
      match: of a vocoder, rounds that pull its audio to the mel, before the chain and after each step, see
        `diffwave_jax.mel_match.match`; 0 for none.
      guided_steps: the lowest and the highest diffusion step at which guidance is applied; None for all of them. Among
        the noisiest steps it costs variety (Kynkaanniemi et al., arXiv 2404.07724).
      guide_memory: seconds of audio that S4 layers hear in the prediction that guidance leads away from, so that it
        leads towards what takes a longer memory, such as harmonics (Karras et al., arXiv 2406.02507: a weaker version
        of the network as its guide); 0 for all they can. A SaShiMi without classes can be guided so too.
      early: a diffusion step, and the guidance and the noise scale at that step and all noisier ones; None for the same
        at all steps. The noisiest steps decide what is said and how, the others how clear it sounds.
    """

    sampler: str
    steps: int
    seed: int = 0
    eta: float | None = None
    noise_scale: float = 1.0
    levels: tuple[int, ...] = ()
    polish: int | None = None
    match: int = 0
    digit: tuple[int, ...] = ()
    speaker: tuple[int, ...] = ()
    guidance: float = 1.0
    guided_steps: tuple[int, int] | None = None
    guide_memory: float = 0.0
    early: tuple[float, float, float] | None = None

    @classmethod
    def for_model(
        cls,
        config: ConfigDict,
        *,
        seed: int = 0,
        sampler: str | None = None,
        steps: int | None = None,
        eta: float | None = None,
        noise_scale: float | None = None,
        levels: Sequence[int] | None = None,
        polish: int | None = None,
        match: int | None = None,
        digit: Choice | None = None,
        speaker: Choice | None = None,
        guidance: float | None = None,
        guided_steps: Sequence[int] | None = None,
        guide_memory: float | None = None,
        early: Sequence[float] | None = None,
        start: int | None = None,
    ) -> "Settings":
        """What is asked for, and where nothing is (None), what a model's `config.sample` says.

        The usual steps, eta and noise scale suit the usual sampler from noise to audio: for another sampler, or from a
        diffusion step `start`, they are that sampler's own. A config that names no sampler means 25 steps of "dpm++".
        Another guidance or noise scale than the usual one is for all steps, unless `early` is asked for too.

        Args:
          config: the model's config.
          seed, sampler, steps, eta, noise_scale, guidance, guide_memory: see the attributes.
          levels: in place of `steps`, or as many as those.
          polish, match: see the attributes.
          digit: number or name of a class, or several; `()` for none at all.
          speaker: number or name of a speaker, or several; `()` for all of them.
          guided_steps: the lowest and the highest; `()` for all of them.
          early: a diffusion step, guidance and noise scale from it on; `()` for the same at all steps.
          start: the diffusion step at which a recording enters the chain; None for a chain from noise. Nobody knows
            what a recording says: no digit is usual for it.

        Raises:
          UserError: a class or a speaker that this model does not know, or a value of the wrong kind.
        """
        usual, nothing = _usual(config), sample_section()
        usual_sampler: str = usual.sampler or USUAL_SAMPLER
        sampler = sampler or usual_sampler
        chain = usual if sampler == usual_sampler and start is None else nothing
        noise = chain if eta is None else nothing
        theirs = steps in (None, len(usual.levels)) and (chain is usual or usual.distilled)
        chosen = _levels(levels, usual if theirs else nothing, start)
        steps, eta = _or(steps, len(chosen) or chain.steps), _or(eta, chain.eta)
        among = config.diffusion.num_steps if start is None else _whole(start, "start") + 1
        said = usual if start is None else nothing
        classes = numbers_of(_or(digit, said.digit), class_names(config), "digit")
        memory = _real(_or(guide_memory, 0.0 if guidance == 1 else said.guide_memory), "guide_memory")
        usually = guidance in (None, usual.guidance) and noise_scale in (None, usual.noise_scale)
        return cls(
            sampler=sampler,
            steps=usual_steps(sampler, among) if steps is None else _whole(steps, "steps"),
            seed=_whole(seed, "seed"),
            eta=None if eta is None else _real(eta, "eta"),
            noise_scale=_real(_or(noise_scale, noise.noise_scale), "noise_scale"),
            levels=chosen,
            polish=_or(polish if polish is None else _whole(polish, "polish"), said.polish),
            match=_whole(_or(match, usual.match), "match"),
            digit=classes,
            speaker=numbers_of(_or(speaker, usual.speaker if classes else ()), speaker_names(config), "speaker"),
            guidance=_real(_or(guidance, usual.guidance if classes or memory else 1.0), "guidance"),
            guided_steps=_ends(_or(guided_steps, usual.guided_steps)),
            guide_memory=memory,
            early=_early(_or(early, noise.early if usually and (classes or memory) else ())),
        )

    @property
    def at_early_steps(self) -> "Settings":
        """What holds at the early steps, as settings of a whole chain; these themselves if nothing else does."""
        if self.early is None:
            return self
        _, guidance, noise_scale = self.early
        return dataclasses.replace(self, guidance=guidance, noise_scale=noise_scale, early=None)

    def of_clip(self, index: int, n_speakers: int) -> "Settings":
        """For clips that all ask for what clip `index` asks for, of a model that knows `n_speakers`."""
        digit, speaker = self.digit_of(index), self.speaker_of(index, n_speakers)
        return dataclasses.replace(
            self, digit=() if digit is None else (digit,), speaker=() if speaker is None else (speaker,)
        )

    def digit_of(self, index: int) -> int | None:
        """The class that clip `index` is asked for, None for none."""
        return self.digit[index % len(self.digit)] if self.digit else None

    def speaker_of(self, index: int, n_speakers: int) -> int | None:
        """The speaker that clip `index` is asked for, of a model that knows `n_speakers`; None for none."""
        if not self.digit or not n_speakers:
            return None
        speakers = self.speaker or range(n_speakers)
        # One place more each time that digits and speakers would meet the same way again.
        return speakers[(index + index // math.lcm(len(self.digit), len(speakers))) % len(speakers)]

    def label_of(self, index: int, n_classes: int, n_speakers: int) -> int:
        """The label of clip `index`, see `diffwave_jax.models.labels`."""
        digit, speaker = self.digit_of(index), self.speaker_of(index, n_speakers)
        return labels.count(n_classes, n_speakers) if digit is None else labels.join(digit, speaker or 0, n_classes)

    def on_record(self, index: int, config: ConfigDict) -> dict:
        """What of these settings goes with clip `index` of a config's model."""
        names = speaker_names(config)
        speaker = self.speaker_of(index, len(names))
        return {
            "digit": self.digit_of(index),
            **({} if speaker is None else {"speaker": names[speaker]}),
            "seed": self.seed,
            "sampler": self.sampler,
            "steps": self.steps,
            "eta": self.eta,
            "guidance": self.guidance,
            **({} if self.noise_scale == 1 else {"noise_scale": self.noise_scale}),
            **({"guided_steps": list(self.guided_steps)} if self.guided_steps else {}),
            **({"guide_memory": self.guide_memory} if self.guide_memory else {}),
            **({"early": list(self.early)} if self.early else {}),
            **self.special_on_record(),
        }

    def special_on_record(self) -> dict:
        """Levels, the last pass and the rounds after it, for a clip's record; nothing where the chain is without."""
        said = {
            "levels": list(self.levels) or None,
            "polish": self.polish,
            "match": self.match or None,
        }
        return {name: value for name, value in said.items() if value is not None}

    def check(self, config: ConfigDict) -> None:
        """UserError if the model of a config cannot do what is asked; `samplers.plan` checks how it samples."""
        check_seed(self.seed)
        if self.levels and len(self.levels) != self.steps:
            raise UserError(f"steps is {self.steps}, but {len(self.levels)} levels are given; leave steps out")
        if config.sample.distilled:
            self._check_distilled(config.sample)
        if self.guided_steps and self.guided_steps[0] > self.guided_steps[1]:
            raise UserError("guided_steps is {} to {}; give the lowest step first".format(*self.guided_steps))
        if self.match < 0 or (self.match and not config.model.n_mels):
            raise UserError(f"match is {self.match}; it is the number of a vocoder's rounds, 0 for none")
        if not math.isfinite(self.guidance):
            raise UserError(f"guidance is {self.guidance}; give a number, 1 for the plain conditional model")
        check_guide_memory(self.guide_memory, self.guidance, config)
        if not config.model.n_classes and (self.digit or (self.guidance != 1 and not self.guide_memory)):
            raise UserError(
                "this model is unconditional: it cannot be asked for a digit, nor guided, but by guide_memory; leave "
                "both out, or train one with model.n_classes"
            )
        check_numbers(self.digit, class_names(config), "digit")
        if self.speaker and not self.digit:
            raise UserError("a speaker is asked for, but no digit; ask for one too, or leave the speaker out")
        check_numbers(self.speaker, speaker_names(config), "speaker")
        if self.guidance != 1 and not self.digit and not self.guide_memory:
            raise UserError(f"guidance is {self.guidance}, but no digit is asked for; ask for one, or leave it at 1")
        if self.early and self.early[1] != 1:  # a scale of 1 asks for nothing
            self.at_early_steps.check(config)

    def _check_distilled(self, usual: ConfigDict) -> None:
        """UserError for what a distilled network has never seen."""
        known = self.levels and self.levels == tuple(usual.levels)[-len(self.levels) :]
        if (
            not known
            or self.sampler != usual.sampler
            or self.guidance != 1
            or self.guide_memory
            or self.polish is not None
        ):
            raise UserError(
                f"this model was distilled to the levels {','.join(map(str, usual.levels))} of {usual.sampler}, its "
                "guidance inside, and knows no others: leave sampler, steps, levels, guidance and polish out"
            )


def check_seed(seed: int) -> None:
    """UserError for a seed that JAX would cut off."""
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed is {seed}; it must be between 0 and {LARGEST_SEED}")


def guidance_at(
    timesteps: Real[ArrayLike, " steps"], guidance: float, guided_steps: Sequence[int] | None
) -> Float64[np.ndarray, " steps"]:
    """The guidance scale (S,) at diffusion steps (S,): 1 outside `guided_steps`, lowest and highest; all if none."""
    lowest, highest = guided_steps or (-math.inf, math.inf)
    return np.where((lowest <= np.asarray(timesteps)) & (np.asarray(timesteps) <= highest), guidance, 1.0)


def check_guide_memory(guide_memory: float, guidance: float, config: ConfigDict) -> None:
    """UserError if guidance of a scale cannot lead away from so short a memory in the model of a config."""
    if not guide_memory:
        return
    if not 0 < guide_memory < math.inf:
        raise UserError(f"guide_memory is {guide_memory}; give seconds above 0, or 0 for none")
    if guidance == 1:
        raise UserError(f"guide_memory is {guide_memory}, but guidance is 1: give a scale above 1, or leave it out")
    model = model_config(config.model)
    if not isinstance(model, SaShiMiConfig) or model.n_mels or not any(model.stage_layers[:-1]):
        raise UserError(
            "guide_memory shortens what a SaShiMi's S4 layers hear outside its innermost stage; this model has no "
            "such layers, or is a vocoder: leave it out"
        )


def check_count(n: int) -> int:
    """`n` as a number of clips; UserError if it is none."""
    if _whole(n, "n") < 1:
        raise UserError(f"n is {n}; ask for at least 1 clip")
    return _whole(n, "n")


def _usual(config: ConfigDict) -> ConfigDict:
    """The config's `sample` section, whose fields must be those that there are."""
    known = sample_section()
    for name in config.sample:
        if name not in known:
            raise UserError(f"unknown field {name!r} in the config's sample section; known are {', '.join(known)}")
    return config.sample


def _levels(asked: Sequence[int] | None, usual: ConfigDict, start: int | None) -> tuple[int, ...]:
    """The levels asked for, else the usual ones, from `start` on; none where neither says any."""
    if asked is not None:
        return tuple(_whole(level, "a level") for level in asked)
    return tuple(level for level in usual.levels if start is None or level <= start)


def _or(asked: Value | None, usual: Value) -> Value:
    return usual if asked is None else asked


def _ends(guided_steps: Sequence[int]) -> tuple[int, int] | None:
    if np.shape(guided_steps) == (0,):
        return None
    if np.shape(guided_steps) != (2,):
        raise UserError(f"guided_steps is {guided_steps}; give the lowest and the highest step, or neither")
    low, high = (_whole(step, "a step of guided_steps") for step in guided_steps)
    return low, high


def _early(early: Sequence[float]) -> tuple[float, float, float] | None:
    if np.shape(early) == (0,):
        return None
    if np.shape(early) != (3,):
        raise UserError(f"early is {early}; give a diffusion step, guidance and a noise scale, or nothing")
    step, guidance, noise_scale = (_real(value, "a value of early") for value in early)
    return step, guidance, noise_scale


def _whole(value: Any, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise UserError(f"{what} is {value!r}; give a whole number") from None


def _real(value: Any, what: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"{what} is {value!r}; give a number") from None
