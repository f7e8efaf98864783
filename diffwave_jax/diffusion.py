"""The diffusion process: noise schedule, forward noising and training loss.

Ho et al., "Denoising Diffusion Probabilistic Models" (arXiv 2006.11239), as used by DiffWave (arXiv 2009.09761).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Real
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError

PREDICTIONS = ("noise", "v")


@dataclasses.dataclass(frozen=True, eq=False)
class Diffusion:
    """A variance schedule of T steps and everything that follows from it.

    Steps are 0-based: `t` in 0..T-1, larger is noisier. The tables are float64 so that no rounding of the schedule
    reaches a sample; they are cast to the audio's type where they are used.

    Attributes:
      beta: (T,) float64 noise variances, each in (0, 1).
      prediction: what the network's output stands for, see `predicted_noise`.
    """

    beta: np.ndarray
    prediction: str = "noise"

    def __post_init__(self):
        beta = np.asarray(self.beta, np.float64)
        if beta.ndim != 1 or beta.size == 0 or not np.all((beta > 0) & (beta < 1)):
            raise ValueError(f"beta must be a vector of variances in (0, 1), got {self.beta!r}")
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"prediction must be one of {', '.join(PREDICTIONS)}, got {self.prediction!r}")
        object.__setattr__(self, "beta", beta)

    @classmethod
    def linear(cls, num_steps: int = 200, beta_min: float = 1e-4, beta_max: float = 0.02) -> "Diffusion":
        """The linear schedule of the released models (DiffWave, section 4.1).

        Args:
          num_steps: T.
          beta_min, beta_max: the first and the last variance, in (0, 1).
        """
        return cls(np.linspace(beta_min, beta_max, num_steps))

    @classmethod
    def from_config(cls, section: ConfigDict) -> "Diffusion":
        """What a config's `diffusion` section describes; UserError where it describes none."""
        if section.beta_power <= 0:
            raise UserError(f"diffusion.beta_power is {section.beta_power}; it must be above 0, 1 for linear variances")
        first, last = np.array([section.beta_min, section.beta_max]) ** (1 / section.beta_power)
        try:
            return cls(np.linspace(first, last, section.num_steps) ** section.beta_power, section.prediction)
        except ValueError as error:
            raise UserError(f"diffusion: {error}") from error

    @property
    def num_steps(self) -> int:
        """T, the number of diffusion steps."""
        return len(self.beta)

    @property
    def alpha(self) -> np.ndarray:
        """(T,) `1 - beta`."""
        return 1 - self.beta

    @property
    def alpha_bar(self) -> np.ndarray:
        """(T,) the cumulative product of `alpha`: the share of the signal's power left at step t."""
        return np.cumprod(self.alpha)

    @property
    def sigma(self) -> np.ndarray:
        """(T,) standard deviation of the reverse step's noise; 0 at t = 0 (Ho et al., equation 7)."""
        before = np.concatenate([[1.0], self.alpha_bar[:-1]])
        return np.sqrt(self.beta * (1 - before) / (1 - self.alpha_bar))

    @property
    def reverse_coefficients(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(T,) weights of the state, the predicted noise and fresh noise in a reverse step (Ho et al., algorithm 2)."""
        of_state = 1 / np.sqrt(self.alpha)
        return of_state, -of_state * self.beta / np.sqrt(1 - self.alpha_bar), self.sigma

    def q_sample(
        self, x0: Float[Array, "batch samples"], t: Integer[Array, " batch"], noise: Float[Array, "batch samples"]
    ) -> Float[Array, "batch samples"]:
        """Noisy audio x_t from clean audio (Ho et al., equation 4).

        Args:
          x0: (B, L) clean audio.
          t: (B,) steps.
          noise: (B, L) standard normal.
        """
        alpha_bar = self.alpha_bar
        signal = _at(np.sqrt(alpha_bar), t, x0)
        return signal * x0 + _at(np.sqrt(1 - alpha_bar), t, x0) * noise

    def predicted_noise(
        self, output: Float[Array, "batch samples"], x: Float[Array, "batch samples"], t: Real[Array, " batch"]
    ) -> Float[Array, "batch samples"]:
        """What a network's output says of the noise in its input.

        Between two steps sqrt(alpha_bar) is taken as linear, as the samplers' schedules do.

        Args:
          output: (B, L) of the network.
          x: (B, L) the noisy audio that it was given.
          t: (B,) 0-based steps, possibly fractional.

        Returns:
          (B, L) the noise, of standard deviation 1.
        """
        # 1 - sqrt(alpha_bar) is what float32 keeps exactly where there is little noise.
        missing = jnp.interp(t, jnp.arange(self.num_steps), jnp.asarray(1 - np.sqrt(self.alpha_bar), x.dtype))[:, None]
        return noise_in(self.prediction, output, x, 1 - missing, jnp.sqrt(missing * (2 - missing)))

    def loss(
        self,
        predict_noise: Callable[[jax.Array, jax.Array], jax.Array],
        x0: Float[Array, "batch samples"],
        t: Integer[Array, " batch"],
        noise: Float[Array, "batch samples"],
        norm: str = "l2",
    ) -> Float[Array, " batch"]:
        """Mean error of the predicted noise per clip, squared as in Ho et al., equation 14, or its size.

        Args:
          predict_noise: function of noisy audio (B, L) and steps (B,) that gives the predicted noise (B, L).
          x0: (B, L) clean audio.
          t: (B,) steps at which it is noised.
          noise: (B, L) standard normal, what it is noised with.
          norm: "l2" for the square of each sample's error, "l1" for its size.

        Returns:
          (B,) one error a clip.
        """
        error = predict_noise(self.q_sample(x0, t, noise), t) - noise
        return jnp.mean(jnp.square(error) if norm == "l2" else jnp.abs(error), axis=-1)


def noise_in(
    prediction: str,
    output: Float[Array, "*clips samples"],
    x: Float[Array, "*clips samples"],
    signal: jax.Array,
    noise_level: jax.Array,
) -> Float[Array, "*clips samples"]:
    """The noise that a network's output stands for, where x = signal x_0 + noise_level epsilon.

    The output is epsilon itself ("noise"), or v = signal epsilon - noise_level x_0 ("v"; Salimans & Ho, arXiv
    2202.00512, appendix D), which asks for the noise where there is little of it and for the clean audio where there is
    little of that, so that the network need not copy its input to its output.

    Args:
      prediction: "noise" or "v".
      output: (..., L) of the network.
      x: (..., L) its input.
      signal, noise_level: scalars, or what multiplies (..., L); the squares of both sum to 1.

    Returns:
      (..., L).
    """
    return output if prediction == "noise" else signal * output + noise_level * x


def _at(table: np.ndarray, t: jax.Array, like: jax.Array) -> jax.Array:
    """`table[t]` in `like`'s type, shaped to multiply (B, L) audio."""
    return jnp.asarray(table, like.dtype)[t][:, None]
