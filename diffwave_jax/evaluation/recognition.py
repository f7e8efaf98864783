"""A trained classifier in one object: features and class probabilities of any audio."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from scipy import special

from diffwave_jax import checkpoint
from diffwave_jax.config import from_dict
from diffwave_jax.errors import UserError
from diffwave_jax.models import build, weights

BATCH_SIZE = 100
BUNDLED = resources.files("diffwave_jax") / "bundled" / "classifier_digits"

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Recognition:
    """What a classifier hears in N clips.

    Attributes:
      features: (N, F) float64, the penultimate layer's.
      logits: (N, K) float64, unnormalised log-probabilities.
    """

    features: np.ndarray
    logits: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """(N, K) float64, none of them 0."""
        return special.softmax(self.logits, axis=1)


class Recogniser:
    """A classifier with its weights.

    Args:
      config: the config it was trained with.
      params: {dotted name: array}, the weights.
      name: to show.

    Raises:
      UserError: the config is not a classifier's.
    """

    def __init__(self, config: ConfigDict, params: Mapping[str, np.ndarray | jax.Array], name: str = "classifier"):
        if config.model.name != "classifier":
            raise UserError(f"a classifier is needed, found a {config.model.name} model: train configs/classifier.py")
        self.config = config
        self.name = name
        graph, _ = weights.abstract(lambda rngs: build(config.model, rngs=rngs))
        self._params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
        self._hear = jax.jit(functools.partial(_hear, graph))

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.config.data.sample_rate

    @property
    def length(self) -> int:
        """Samples of the clips it was trained on."""
        return self.config.data.length

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.config.data.classes)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The weights' fingerprint with the rate and the length of the clips that they expect."""
        return f"{weights.fingerprint(self._params)}-{self.sample_rate}-{self.length}"

    def fit(self, audio: np.ndarray, sample_rate: int) -> np.ndarray:
        """Audio (..., L) of any rate as float32 (..., length): resampled, cut or zero-padded at the end."""
        audio = np.asarray(audio, np.float32)
        if sample_rate != self.sample_rate:
            audio = librosa.resample(audio, orig_sr=sample_rate, target_sr=self.sample_rate)
        return librosa.util.fix_length(audio, size=self.length)

    def __call__(self, audio: np.ndarray, progress: Progress | None = None) -> Recognition:
        """Hears clips (N, length) as `fit` gives them.

        Args:
          audio: float32, N > 0.
          progress: called with (clips done, clips in all).
        """
        if audio.ndim != 2 or not len(audio):
            raise UserError(f"clips must be an array (N, {self.length}) with N > 0, found shape {audio.shape}")
        parts = []
        for start in range(0, len(audio), BATCH_SIZE):
            # The last batch is filled up, so that one compiled program serves all.
            rows = np.minimum(np.arange(start, start + BATCH_SIZE), len(audio) - 1)
            parts.append(jax.device_get(self._hear(self._params, audio[rows])))
            if progress:
                progress(min(start + BATCH_SIZE, len(audio)), len(audio))
        features, logits = (np.concatenate(part)[: len(audio)].astype(np.float64) for part in zip(*parts, strict=True))
        return Recognition(features, logits)


def load_recogniser(path: str | Path | None = None) -> Recogniser:
    """The classifier of a training run or checkpoint, or the bundled one of 8 kHz digits for None."""
    saved = checkpoint.load(str(BUNDLED) if path is None else path)
    return Recogniser(from_dict(saved.config), saved.weights, "bundled" if path is None else str(path))


def _hear(graph: nnx.GraphDef, params: weights.Weights, audio: jax.Array) -> tuple[jax.Array, jax.Array]:
    classifier = weights.merge(graph, params)
    features = classifier.features(classifier.mel(audio))
    return features, classifier.logits(features)
