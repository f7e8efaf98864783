"""What every loaded model is: a config, and the weights of the network that it describes."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffwave_jax import one_file
from diffwave_jax.config import to_dict
from diffwave_jax.errors import UserError
from diffwave_jax.generation.batches import OnStep
from diffwave_jax.models import build, weights


class Recorded(Protocol):
    """How clips are made, in so far as each clip's record says it."""

    def on_record(self, index: int, config: ConfigDict) -> dict[str, Any]:
        """What of these settings goes with clip `index` of a config's model."""
        ...


How = TypeVar("How", bound=Recorded)


class LoadedModel(Generic[How]):
    """A network with its weights, which makes clips as settings of its own kind say.

    Args:
      config: the run's config.
      params: {dotted name: array}, the weights.

    Raises:
      UserError: the weights are not those of the config's network.
    """

    def __init__(self, config: ConfigDict, params: Mapping[str, np.ndarray | jax.Array]):
        self.config = config
        self._graph, expected = weights.abstract(lambda rngs: build(config.model, rngs=rngs))
        check_weights(params, expected)
        self._params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}

    def __reduce__(self) -> tuple:
        """Config and weights alone are pickled and copied: compiled programs belong to a process."""
        return type(self), (self.config, jax.device_get(self._params))

    def check(self, settings: How) -> None:
        """UserError if this model cannot make clips so."""
        raise NotImplementedError

    def clips(
        self, indices: Sequence[int], settings: How, *, batch_size: int | None = None, on_step: OnStep | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Indices (b,) and their clips (b, L), batch by batch, as soon as each is made."""
        raise NotImplementedError

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.config.data.sample_rate

    @property
    def length(self) -> int:
        """Samples of the clips that the model was trained on."""
        return self.config.model.length

    @property
    def num_parameters(self) -> int:
        """Number of weights."""
        return weights.count(self._params)

    def save(self, path: str | Path) -> Path:
        """Writes the model into one file, which `diffwave_jax.load` takes: config and weights, bit for bit.

        Args:
          path: ends in `.safetensors`; a file that is there is replaced.

        Returns:
          The path.

        Raises:
          UserError: another ending, or the file cannot be written.
        """
        return one_file.save(path, to_dict(self.config), jax.device_get(self._params))

    @functools.cached_property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that tell these weights from any others."""
        return weights.fingerprint(self._params)


def check_weights(found: Mapping[str, np.ndarray | jax.Array], expected: Mapping[str, jax.ShapeDtypeStruct]) -> None:
    """UserError that names the first missing, extra or misshapen weight."""
    for name, shape in ((name, value.shape) for name, value in expected.items()):
        if name not in found:
            raise UserError(f"the checkpoint lacks the weight {name} {shape}: it belongs to another configuration")
        if found[name].shape != shape:
            raise UserError(
                f"the weight {name} has shape {found[name].shape} where the configuration wants {shape}: "
                "the checkpoint belongs to another configuration"
            )
    extra = sorted(set(found) - set(expected))
    if extra:
        raise UserError(f"the checkpoint has an unknown weight {extra[0]}: it belongs to another configuration")
