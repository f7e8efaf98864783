"""The task of predicting each sample of a clip from those before it."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.models import AutoregressiveSaShiMi, build
from diffwave_jax.models.stepping import START
from diffwave_jax.tokens import CODES, encode_recorded


class AutoregressionTask:
    """Cross entropy of tokens (Goel et al., arXiv 2202.09729, section 4), in the code that `model.code` names.

    With `train.start_token` a clip's first token is predicted too, from `START`, as state-spaces/s4 trains; without,
    clips are one sample longer than the network's and their first token is only listened to, as RF5/simple-sashimi
    trains. `train.count_padding` decides whether what fills up shorter clips is predicted too.
    """

    needs_data = True

    def __init__(self, config: ConfigDict):
        self._model = config.model
        if config.model.name != "sashimi_ar":
            raise UserError(f"train.task is autoregression but model.name is {config.model.name!r}: set sashimi_ar")
        self._code = CODES[config.model.code]
        self._start_token, self._count_padding = config.train.start_token, config.train.count_padding
        wanted = config.model.length + (not self._start_token)
        if config.data.length != wanted:
            raise UserError(
                f"data.length is {config.data.length}; it must be {wanted} for model.length {config.model.length} "
                f"{'with' if self._start_token else 'without'} train.start_token"
            )

    def build(self, rngs: nnx.Rngs) -> AutoregressiveSaShiMi:
        """The network of the config's `model` section."""
        network = build(self._model, rngs=rngs)
        assert isinstance(network, AutoregressiveSaShiMi)  # the model's name was checked
        return network

    def constants(self) -> dict:
        """None."""
        return {}

    def prepare(self, clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Audio as `tokens (B, L)`, see `diffwave_jax.tokens.encode_recorded`."""
        tokens = encode_recorded(self._code, clips["audio"], clips["recorded"])
        return {"tokens": tokens, "recorded": clips["recorded"], "label": clips["label"]}

    def loss(self, network: AutoregressiveSaShiMi, batch: dict, key: jax.Array) -> tuple[jax.Array, dict]:
        """Cross entropy in nats; see `Task.loss`. Its metrics: `loss`, the same in `bits`, and the share `counted`."""
        del key
        inputs, targets, counts = self.examples(batch["tokens"], batch["recorded"])
        losses = optax.softmax_cross_entropy_with_integer_labels(network(inputs), targets)
        total, count = jnp.sum(losses * counts), jnp.sum(counts)
        metrics = {"loss": (total, count), "bits": (total / math.log(2), count)}
        return total / losses.size, metrics | {"counted": (count, jnp.float32(losses.size))}

    def validation_loss(self, network: AutoregressiveSaShiMi, batch: dict, key: jax.Array) -> tuple[jax.Array, dict]:
        """The same: nothing here is random."""
        return self.loss(network, batch, key)

    def examples(self, tokens: jax.Array, recorded: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """What the network is fed, what it should predict, and 1.0 where that counts, else 0.0; (B, `model.length`).

        Args:
          tokens: (B, L).
          recorded: (B,) the number of each clip's tokens that come from its recording.
        """
        if self._start_token:
            inputs, targets = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)), constant_values=START), tokens
        else:
            inputs, targets = tokens[:, :-1], tokens[:, 1:]
        place = jnp.arange(tokens.shape[1])[-targets.shape[1] :]
        counts = jnp.ones(targets.shape, bool) if self._count_padding else place < recorded[:, None]
        return inputs, targets, counts.astype(jnp.float32)
