"""What every loaded model is: a config, and the weights of the network that it describes."""

import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from diffwave_jax import hub, one_file
from diffwave_jax.config import to_dict
from diffwave_jax.errors import UserError
from diffwave_jax.generation.batches import OnStep
from diffwave_jax.generation.model_card import model_card
from diffwave_jax.models import build, weights


@runtime_checkable
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
    def params(self) -> weights.Weights:
        """{dotted name: float32 array}, the network's weights."""
        return self._params

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

    def push_to_hub(
        self, name: str, *, evaluation: str | Path | None = None, licence: str | None = None, private: bool = False
    ) -> str:
        """Puts the model on the Hugging Face Hub, with a card of what its config and its evaluation say.

        `diffwave_jax.load_pretrained("hf://owner/name")` loads it there. Needs the extra `hub`, and a token
        (`hf auth login`).

        Args:
          name: `owner/name`; the repository is made if need be.
          evaluation: an `evaluation.json` of these weights, for the card.
          licence: of the weights, by the Hub's identifier, as `cc-by-sa-4.0`.
          private: of a repository that is made now.

        Returns:
          The repository's page.

        Raises:
          UserError: the extra is missing, nobody is logged in or may write there, or the Hub cannot be reached.
        """
        scores = None if evaluation is None else Path(evaluation)
        plain = name.removeprefix(hub.SCHEME)
        card = model_card(plain, self.config, self.num_parameters, evaluation=scores, licence=licence)
        with tempfile.TemporaryDirectory() as folder:
            files = {hub.MODEL: self.save(Path(folder) / hub.MODEL), hub.CARD: card.encode()}
            return hub.push(name, files, private=private, message=f"{self.config.model.name} {self.fingerprint}")

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
