"""How clips are made."""

import dataclasses
import math
import numbers
from collections.abc import Sequence

from diffwave_jax.errors import UserError

LARGEST_SEED = 2**32 - 1  # what JAX keeps of a seed


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that, with the model and a clip's index, determines the clip.

    Attributes:
      seed: of all randomness, 0 to 2^32 - 1.
      sampler: a name in `diffwave_jax.samplers.SAMPLERS`.
      steps: evaluations of the network; None for the sampler's usual number.
      eta: share of fresh noise, for the samplers that have one; None for the sampler's usual one.
      digit: the class to ask for, or several that the clips take in turn by their index; None for no class.
      guidance: classifier-free guidance scale; 1 for the plain conditional model.
    """

    seed: int = 0
    sampler: str = "dpm++"
    steps: int | None = 25
    eta: float | None = None
    digit: int | Sequence[int] | None = None
    guidance: float = 1.0

    def __post_init__(self):
        single = isinstance(self.digit, numbers.Integral)
        digits = (self.digit,) if single else () if self.digit is None else self.digit
        object.__setattr__(self, "digit", tuple(int(digit) for digit in digits))

    def digit_of(self, index: int) -> int | None:
        """The class that clip `index` is asked for, None for none."""
        return self.digit[index % len(self.digit)] if self.digit else None

    def check(self, n_classes: int) -> None:
        """UserError if a model of `n_classes` classes cannot do what is asked."""
        if not 0 <= self.seed <= LARGEST_SEED:
            raise UserError(f"seed is {self.seed}; it must be between 0 and {LARGEST_SEED}")
        if not math.isfinite(self.guidance):
            raise UserError(f"guidance is {self.guidance}; give a number, 1 for the plain conditional model")
        if n_classes == 0 and (self.digit or self.guidance != 1):
            raise UserError(
                "this model is unconditional: it cannot be asked for a digit, nor guided; leave both out, "
                "or train one with model.n_classes"
            )
        for digit in self.digit:
            if not 0 <= digit < n_classes:
                raise UserError(f"digit is {digit}; this model has the classes 0 to {n_classes - 1}")
        if self.guidance != 1 and not self.digit:
            raise UserError(f"guidance is {self.guidance}, but no digit is asked for; ask for one, or leave it at 1")


ANCESTRAL = Settings(sampler="ddpm", steps=None)
