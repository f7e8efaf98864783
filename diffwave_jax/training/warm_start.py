"""Beginning a run with the weights of another network, which may be of another kind."""

import jax.numpy as jnp

from diffwave_jax.errors import UserError
from diffwave_jax.generation.loading import load
from diffwave_jax.models.weights import Weights

NAMED = 3  # examples of weights in a message


def begun(fresh: Weights, source: str) -> tuple[Weights, str]:
    """Weights to begin with: those of `source` that have the name and the shape of a fresh one, else the fresh one.

    So what a network learned serves another that has more, such as a vocoder that begins as a model without a mel.

    Args:
      fresh: the freshly initialised network's weights.
      source: what `diffwave_jax.load` takes; of its weights, the moving average where there is one.

    Returns:
      The weights, in the fresh ones' order and types, and a line that says how many are whose.

    Raises:
      UserError: it cannot be loaded, or no weight fits.
    """
    there = load(source).params
    fits = [name for name, value in fresh.items() if name in there and there[name].shape == value.shape]
    if not fits:
        raise UserError(
            f"train.init_from: none of the {len(there)} weights of {source} has the name and the shape of one of this "
            "network's: give a model of the same kind and width"
        )
    weights = fresh | {name: jnp.asarray(there[name], fresh[name].dtype) for name in fits}
    return weights, f"begins with {len(fits)} of {len(fresh)} weights of {source}{_new(sorted(fresh.keys() - fits))}"


def _new(names: list[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > NAMED else ""
    return f"; new: {', '.join(names[:NAMED])}{more}"
