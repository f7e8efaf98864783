"""What is trained: a task builds its network and turns a batch into a loss."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.models import build, labels
from diffwave_jax.models.conditioner import Condition
from diffwave_jax.training.autoregression import AutoregressionTask
from diffwave_jax.training.classification import ClassificationTask
from diffwave_jax.training.distillation import DistillationTask

NO_CLIP = 2**32 - 1  # folded into a batch's key for what its clips share

Batch = dict[str, jax.Array]
Constants = dict[str, Any]
Metrics = dict[str, tuple[jax.Array, jax.Array]]


class Task(Protocol):
    """The trainer's view of a task.

    A batch holds `audio (B, L)`, `label (B,)`, `index (B,)`, each clip's place in the global batch, and `stop (B,)`,
    whether the process it comes from was asked to stop; for a vocoder also `mel (B, frames, bands)`. Random numbers
    come from the key and the clip's place alone, so they are the same however the batch is spread over devices.

    Attributes:
      needs_data: whether its batches hold clips of a data set; if not, they hold `label`, all 0, `index` and `stop`.
    """

    needs_data: bool

    def constants(self) -> Constants:
        """Arrays that the loss finds in every batch besides, by name, the same ones for all clips; {} for none."""
        ...

    def prepare(self, clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What goes to the devices of a process's clips from `Dataset.read`; done on the host."""
        ...

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """The network, freshly initialised."""
        ...

    def loss(self, network: nnx.Module, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The scalar to minimise and metrics; a metric is a pair (sum, count), so that metrics of batches add up.

        With a metric `counted` only that share of what the scalar is the mean of counts, and gradients are scaled to
        those of the mean over it in the whole batch, however that is spread.
        """
        ...

    def validation_loss(self, network: nnx.Module, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """The loss and metrics without whatever is random for training's sake alone; see `loss`."""
        ...


class DiffusionTask:
    """Predicts the noise in noisy clips (DiffWave, algorithm 1)."""

    needs_data = True

    def __init__(self, config: ConfigDict):
        self._model = config.model
        if "n_speakers" not in config.model:
            raise UserError(f"train.task is diffusion but model.name is {config.model.name!r}: set its own task")
        self._no_label = labels.count(config.model.n_classes, config.model.n_speakers)
        self._diffusion = Diffusion.from_config(config.diffusion)
        self._signal_scale = config.diffusion.signal_scale
        self._label_dropout = config.train.label_dropout
        self._norm = config.train.loss
        self._spread, self._batch_size = config.train.spread_steps, config.train.batch_size
        self._step_weight = _step_weight(self._diffusion.alpha_bar, config.train)
        if config.model.length != config.data.length:
            raise UserError(
                f"model.length is {config.model.length} but data.length is {config.data.length}: set both alike"
            )
        if config.model.n_speakers != len(config.data.speakers):
            raise UserError(
                f"model.n_speakers is {config.model.n_speakers} but data.speakers names {len(config.data.speakers)}: "
                "name each speaker, or none and set n_speakers to 0"
            )

    def build(self, rngs: nnx.Rngs) -> nnx.Module:
        """The network of the config's `model` section."""
        return build(self._model, rngs=rngs)

    def constants(self) -> Constants:
        """None."""
        return {}

    def prepare(self, clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Audio and labels as they are, and a vocoder's mels."""
        return {name: clips[name] for name in ("audio", "label", "mel") if name in clips}

    def loss(self, network: nnx.Module, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """Noise-prediction error at random steps; see `Task.loss`."""
        return self._loss(network, batch, key, self._label_dropout)

    def validation_loss(self, network: nnx.Module, batch: Batch, key: jax.Array) -> tuple[jax.Array, Metrics]:
        """Noise-prediction error with every label shown; see `Task.loss`."""
        return self._loss(network, batch, key, 0.0)

    def _loss(self, network, batch, key, label_dropout):
        keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(key, index), 3))(batch["index"])
        draw = jax.vmap
        t = self._spread_steps(key, batch["index"]) if self._spread else self._independent_steps(keys[:, 0])
        noise = draw(lambda key: jax.random.normal(key, batch["audio"].shape[1:]))(keys[:, 1])
        label = None
        if self._no_label:
            hidden = draw(lambda key: jax.random.bernoulli(key, label_dropout))(keys[:, 2])
            label = jnp.where(hidden, self._no_label, batch["label"])
        x0 = self._signal_scale * batch["audio"]

        heard = {}
        if "mel" in batch:
            heard["condition"] = network.condition(Condition(batch["mel"]), x0.shape[1])

        def predict_noise(x, t):
            return self._diffusion.predicted_noise(network(x, t, label, **heard), x, t)

        losses = self._diffusion.loss(predict_noise, x0, t, noise, self._norm)
        weight = jnp.asarray(self._step_weight, losses.dtype)[t]
        return jnp.mean(weight * losses), self._metrics(losses, t)

    def _independent_steps(self, keys: jax.Array) -> jax.Array:
        return jax.vmap(lambda key: jax.random.randint(key, (), 0, self._diffusion.num_steps))(keys)

    def _spread_steps(self, key: jax.Array, index: jax.Array) -> jax.Array:
        """Each uniform, but together evenly spread, from one random number a batch (Kingma et al., 2107.00630, I.1)."""
        start = jax.random.uniform(jax.random.fold_in(key, NO_CLIP))
        place = (start + index / self._batch_size) % 1
        return jnp.minimum((place * self._diffusion.num_steps).astype(jnp.int32), self._diffusion.num_steps - 1)

    def _metrics(self, losses: jax.Array, t: jax.Array) -> Metrics:
        quartile = t * 4 // self._diffusion.num_steps
        metrics = {"loss": (jnp.sum(losses), jnp.float32(losses.size))}
        for q in range(4):
            inside = quartile == q
            metrics[f"loss_quartile{q + 1}"] = (jnp.sum(losses * inside), jnp.sum(inside, dtype=jnp.float32))
        return metrics


def _step_weight(alpha_bar: np.ndarray, train: ConfigDict) -> np.ndarray:
    """(T,) the weight of the noise's error at each step, from the share (T,) of the signal's power left there."""
    weight = alpha_bar**-train.step_weight_power
    if not train.snr_limit:
        return weight
    return weight * np.minimum(1, train.snr_limit * (1 - alpha_bar) / alpha_bar)


TASKS = {
    "autoregression": AutoregressionTask,
    "classification": ClassificationTask,
    "diffusion": DiffusionTask,
    "distillation": DistillationTask,
}


def make_task(config: ConfigDict) -> Task:
    """The task that `config.train.task` names; UserError for another name, or a config that does not suit it."""
    if config.train.task not in TASKS:
        raise UserError(f"train.task must be one of {sorted(TASKS)}, got {config.train.task!r}")
    return TASKS[config.train.task](config)
