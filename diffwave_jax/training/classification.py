"""The task of hearing which word a clip says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.models import build
from diffwave_jax.models.classifier import Classifier

LARGEST_SPEED_CHANGE = 0.12
NOISE_DB = (10.0, 70.0)  # below the clip's level; the lower half is inaudible and leaves the clip clean


class ClassificationTask:
    """Cross entropy of the class of clips whose speed and noise vary."""

    needs_data = True

    def __init__(self, config: ConfigDict):
        self._model = config.model
        if config.model.name != "classifier":
            raise UserError(f"train.task is classification but model.name is {config.model.name!r}: set classifier")
        for field in ("length", "sample_rate"):
            if config.model[field] != config.data[field]:
                found = f"model.{field} is {config.model[field]} but data.{field} is {config.data[field]}"
                raise UserError(f"{found}: set both alike")

    def build(self, rngs: nnx.Rngs) -> Classifier:
        """The network of the config's `model` section."""
        network = build(self._model, rngs=rngs)
        assert isinstance(network, Classifier)  # the model's name was checked
        return network

    def constants(self) -> dict:
        """None."""
        return {}

    def prepare(self, clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Audio and labels as they are."""
        return {"audio": clips["audio"], "label": clips["label"]}

    def loss(self, network: Classifier, batch: dict, key: jax.Array) -> tuple[jax.Array, dict]:
        """Cross entropy after augmentation; see `Task.loss`."""
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(batch["index"])
        return _cross_entropy(network(jax.vmap(augment)(batch["audio"], keys)), batch["label"])

    def validation_loss(self, network: Classifier, batch: dict, key: jax.Array) -> tuple[jax.Array, dict]:
        """Cross entropy of the clips as they are."""
        del key
        return _cross_entropy(network(batch["audio"]), batch["label"])


def augment(audio: jax.Array, key: jax.Array) -> jax.Array:
    """A clip (L,) at another speed and pitch, under white noise of a random level."""
    key_speed, key_level, key_noise = jax.random.split(key, 3)
    audio = change_speed(audio, 1 + jax.random.uniform(key_speed, minval=-1, maxval=1) * LARGEST_SPEED_CHANGE)
    below_db = jax.random.uniform(key_level, minval=NOISE_DB[0], maxval=NOISE_DB[1])
    level = jnp.sqrt(jnp.mean(jnp.square(audio))) * 10 ** (-below_db / 20)
    return audio + level * jax.random.normal(key_noise, audio.shape)


def change_speed(audio: jax.Array, factor: jax.Array) -> jax.Array:
    """The clip (L,) played `factor` times as fast: cut at L samples, or zeros at its end."""
    return jnp.interp(jnp.arange(len(audio)) * factor, jnp.arange(len(audio)), audio, right=0.0)


def _cross_entropy(logits: jax.Array, label: jax.Array) -> tuple[jax.Array, dict]:
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    right = (logits.argmax(axis=-1) == label).astype(jnp.float32)
    count = jnp.float32(losses.size)
    return losses.mean(), {"loss": (losses.sum(), count), "accuracy": (right.sum(), count)}
