"""The task of hearing which word a clip says."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.models import build
from diffwave_jax.models.classifier import Classifier

LARGEST_SPEED_CHANGE = 0.12
NOISE_DB = (
    10.0,
    70.0,
)  # below the clip's level; the range's lower half is inaudible, so about half the clips stay clean
SMOOTHING = 0.05  # share of the target spread over all classes, against overconfidence


class ClassificationTask:
    """Cross entropy of the class of clips whose speed and noise vary, and of mixtures of two."""

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
        return build(self._model, rngs=rngs)

    def loss(self, network: Classifier, batch: dict, key: jax.Array) -> tuple[jax.Array, dict]:
        """Cross entropy after augmentation; see `Task.loss`."""
        keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(key, index), 2))(batch["index"])
        mel = network.mel(jax.vmap(augment)(batch["audio"], keys[:, 0]))
        target = optax.smooth_labels(jax.nn.one_hot(batch["label"], self._model.n_classes), SMOOTHING)
        mel, target = mix(mel, target, jax.vmap(lambda key: jax.random.beta(key, 0.3, 0.3))(keys[:, 1]))
        losses = optax.softmax_cross_entropy(network.logits(network.features(mel)), target)
        return losses.mean(), {"loss": _sum_and_count(losses)}

    def validation_loss(self, network: Classifier, batch: dict, key: jax.Array) -> tuple[jax.Array, dict]:
        """Cross entropy and accuracy of the clips as they are."""
        del key
        logits = network(batch["audio"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        right = logits.argmax(axis=-1) == batch["label"]
        return losses.mean(), {"loss": _sum_and_count(losses), "accuracy": _sum_and_count(right)}


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


def mix(mel: jax.Array, target: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Spectrograms (B, T, M) and targets (B, K), each mixed with its neighbour in the batch (arXiv 1710.09412).

    `share` (B,) in [0, 1] is what one of the two has; the clip itself keeps the larger part.
    """
    share = jnp.maximum(share, 1 - share)
    other_mel, other_target = jnp.roll(mel, 1, axis=0), jnp.roll(target, 1, axis=0)
    mel = share[:, None, None] * mel + (1 - share[:, None, None]) * other_mel
    return mel, share[:, None] * target + (1 - share[:, None]) * other_target


def _sum_and_count(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jnp.sum(values, dtype=jnp.float32), jnp.float32(values.size)
