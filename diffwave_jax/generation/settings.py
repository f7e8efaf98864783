"""How clips are made."""

import dataclasses
import math
import numbers
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.models import labels

LARGEST_SEED = 2**32 - 1  # what JAX keeps of a seed


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that, with the model and a clip's index, determines the clip.

    Attributes:
      seed: of all randomness, 0 to 2^32 - 1.
      sampler: a name in `diffwave_jax.generation.samplers.SAMPLERS`.
      steps: evaluations of the network; None for the sampler's usual number.
      eta: share of fresh noise, for the samplers that have one; None for the sampler's usual one.
      digit: the class to ask for, or several that the clips take in turn by their index; None for no class.
      guidance: classifier-free guidance scale; 1 for the plain conditional model.
      speaker: of a model that tells speakers apart, the one who says the digits, or several who take turns such that
        each says every digit asked for; None for all of them.
      guided_steps: the lowest and the highest diffusion step at which guidance is applied; None for all of them. Among
        the noisiest steps it costs variety (Kynkaanniemi et al., arXiv 2404.07724).
      noise_scale: factor on the fresh noise of each step, 0 to 2: below 1 for cleaner clips that vary less.
    """

    seed: int = 0
    sampler: str = "dpm++"
    steps: int | None = 25
    eta: float | None = None
    digit: int | Sequence[int] | None = None
    guidance: float = 1.0
    speaker: int | Sequence[int] | None = None
    guided_steps: tuple[int, int] | None = None
    noise_scale: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "digit", _several(self.digit))
        object.__setattr__(self, "speaker", _several(self.speaker))
        object.__setattr__(self, "guided_steps", tuple(self.guided_steps or ()))

    @classmethod
    def from_config(cls, sample: ConfigDict, **changes) -> "Settings":
        """A config's `sample` section, the model's usual settings, with some of them changed.

        Raises:
          UserError: a field of it that no settings have.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in sample:
            if name not in known:
                raise UserError(f"unknown field {name!r} in the config's sample section; known are {', '.join(known)}")
        return cls(**(sample.to_dict() | changes))

    def of_clip(self, index: int, n_speakers: int) -> "Settings":
        """For clips that all ask for what clip `index` asks for, of a model that knows `n_speakers`."""
        return dataclasses.replace(self, digit=self.digit_of(index), speaker=self.speaker_of(index, n_speakers))

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

    def guidance_at(self, timesteps: np.ndarray) -> np.ndarray:
        """The guidance scale at each of some diffusion steps (S,)."""
        lowest, highest = self.guided_steps or (-math.inf, math.inf)
        return np.where((lowest <= timesteps) & (timesteps <= highest), self.guidance, 1.0)

    def check(self, n_classes: int, n_speakers: int = 0) -> None:
        """UserError if a model of `n_classes` classes and `n_speakers` speakers cannot do what is asked."""
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"seed is {self.seed}; it must be between 0 and {LARGEST_SEED}")
        if not math.isfinite(self.guidance):
            raise UserError(f"guidance is {self.guidance}; give a number, 1 for the plain conditional model")
        if len(self.guided_steps) not in (0, 2):
            raise UserError(f"guided_steps is {self.guided_steps}; give the lowest and the highest step, or neither")
        if self.guided_steps and self.guided_steps[0] > self.guided_steps[1]:
            raise UserError("guided_steps is {} to {}; give the lowest step first".format(*self.guided_steps))
        if n_classes == 0 and (self.digit or self.guidance != 1):
            raise UserError(
                "this model is unconditional: it cannot be asked for a digit, nor guided; leave both out, "
                "or train one with model.n_classes"
            )
        for digit in self.digit:
            if not 0 <= digit < n_classes:
                raise UserError(f"digit is {digit}; this model has the classes 0 to {n_classes - 1}")
        if self.speaker and not self.digit:
            raise UserError("a speaker is asked for, but no digit; ask for one too, or leave the speaker out")
        for speaker in self.speaker:
            if not 0 <= speaker < n_speakers:
                known = f"the speakers 0 to {n_speakers - 1}" if n_speakers else "no speakers to choose from"
                raise UserError(f"speaker is {speaker}; this model has {known}")
        if self.guidance != 1 and not self.digit:
            raise UserError(f"guidance is {self.guidance}, but no digit is asked for; ask for one, or leave it at 1")


def _several(choice: int | Sequence[int] | None) -> tuple[int, ...]:
    single = isinstance(choice, numbers.Integral)
    return tuple(int(one) for one in ((choice,) if single else choice or ()))


ANCESTRAL = Settings(sampler="ddpm", steps=None)
