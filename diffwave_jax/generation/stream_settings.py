"""How clips of an autoregressive model are asked for."""

import dataclasses
import hashlib
import math

import jax.numpy as jnp
import numpy as np

from diffwave_jax.errors import UserError
from diffwave_jax.generation.drawing import Sharpness
from diffwave_jax.generation.settings import check_seed


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StreamSettings:
    """Everything that, with the model and a clip's index, determines the clip.

    Attributes:
      length: samples of a clip, the prime's among them; None for clips without end.
      seed: of all randomness, 0 to 2^32 - 1.
      temperature: above 0; below 1 for more probable samples, 1 for the model's own distribution.
      top_p: in (0, 1]; each token is drawn from the fewest that are at least this probable together.
      prime: audio (P,), or (n, P) for clips 0 to n - 1, that the clips begin with; None for none.
      prime_name: what the record of a clip says of its prime, besides a hash of it.
    """

    length: int | None
    seed: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    prime: np.ndarray | None = None
    prime_name: str = "audio"

    def check(self) -> None:
        """UserError for a number out of its range; what a prime must be depends on the model."""
        check_seed(self.seed)
        if self.length is not None and self.length < 1:
            raise UserError(f"length is {self.length}; ask for at least 1 sample")
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UserError(
                f"temperature is {self.temperature}; it must be above 0, 1 for the model's own distribution"
            )
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; it must be above 0 and at most 1, which keeps all tokens")

    @property
    def sharpness(self) -> Sharpness | None:
        """What is drawn from; None for the model's own distribution."""
        plain = self.temperature == 1 and self.top_p == 1
        return None if plain else Sharpness(jnp.float32(self.temperature), jnp.float32(self.top_p))

    def on_record(self, index: int, config) -> dict:
        """What of these settings goes with clip `index` of a config's model."""
        del index, config
        record = {"seed": self.seed, "samples": self.length, "temperature": self.temperature, "top_p": self.top_p}
        if self.prime is None:
            return record
        digest = hashlib.sha256(np.asarray(self.prime, np.float32).tobytes()).hexdigest()
        return record | {"prime": f"{self.prime_name} {digest[:12]}", "primed_samples": self.prime.shape[-1]}
