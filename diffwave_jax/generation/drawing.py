"""Tokens drawn from a network's logits."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int

from diffwave_jax.tokens import LEVELS

# Sums up to each token as one product, which costs a CPU less than a running sum.
UP_TO = np.triu(np.ones((LEVELS, LEVELS), np.float32))


class Sharpness(NamedTuple):
    """How a distribution is sharpened before it is drawn from; float32 scalars, so that one program serves all.

    Attributes:
      temperature: logits are divided by it; 1 leaves them.
      top_p: the smallest set of tokens at least this probable together is kept; 1 keeps all.
    """

    temperature: Float32[Array, ""]
    top_p: Float32[Array, ""]


def draw(
    logits: Float32[Array, "*batch levels"], uniform: Float32[Array, "*batch"], sharpness: Sharpness | None = None
) -> Int[Array, "*batch"]:
    """The token at which the running sum of the probabilities first exceeds `uniform`: an inverse CDF.

    Args:
      logits: (..., LEVELS) float32.
      uniform: (...) in [0, 1).
      sharpness: None for the distribution as it is.
    """
    if sharpness is not None:
        logits = jnp.where(_nucleus(logits, sharpness.top_p), logits, -jnp.inf) / sharpness.temperature
    weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    sums = jnp.matmul(weights, UP_TO, precision="highest")
    total = sums[..., -1:]
    # A uniform next to 1 times the total may round to the total: then it is the last token that adds to it.
    passed = (sums <= uniform[..., None] * total) & (sums < total)
    return jnp.sum(passed, axis=-1, dtype=jnp.int32)


def _nucleus(logits: jax.Array, top_p: jax.Array) -> jax.Array:
    """Which tokens (..., LEVELS) are kept: those for which the more probable ones together do not exceed `top_p`.

    Of the plain distribution, whatever the temperature (state-spaces/s4, `generate.py`; Holtzman et al., arXiv
    1904.09751).
    """
    p = jax.nn.softmax(logits)
    more_probable = p[..., None, :] > p[..., :, None]
    return jnp.sum(jnp.where(more_probable, p[..., None, :], 0), axis=-1) <= top_p


def log_probability(logits: Float32[Array, "*batch levels"], tokens: Int[Array, "*batch"]) -> Float32[Array, "*batch"]:
    """Natural logarithm (...) of the tokens' probability, of logits (..., LEVELS) and tokens (...)."""
    chosen = jnp.take_along_axis(logits, tokens[..., None], axis=-1)[..., 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)
