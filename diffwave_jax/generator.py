"""A trained model in one object: what `diffwave_jax.load` returns and everything else uses."""

import functools
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from diffwave_jax import checkpoint
from diffwave_jax.config import from_dict
from diffwave_jax.diffusion import Diffusion
from diffwave_jax.errors import UserError
from diffwave_jax.models import build, weights


class Generator:
    """A network with its weights and its diffusion process.

    Args:
      config: the run's config.
      params: {dotted name: array}, the weights.

    Raises:
      UserError: the weights are not those of the config's network.
    """

    def __init__(self, config: ConfigDict, params: Mapping[str, np.ndarray]):
        self.config = config
        self._graph, expected = weights.abstract(lambda: build(config.model, rngs=nnx.Rngs(0)))
        check_weights(params, expected)
        self._params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
        self.diffusion = Diffusion.linear(
            config.diffusion.num_steps, config.diffusion.beta_min, config.diffusion.beta_max
        )

    @property
    def sample_rate(self) -> int:
        """Samples per second."""
        return self.config.data.sample_rate

    @property
    def length(self) -> int:
        """Samples of a clip."""
        return self.config.model.length

    @property
    def num_parameters(self) -> int:
        """Number of weights."""
        return weights.count(self._params)

    def predict_noise(self, x: jax.Array, t: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Predicted noise (B, L) of noisy audio `x` (B, L) at 0-based steps `t` (B,), label (B,) if conditional."""
        return _predict_noise(self._graph, self._params, self._kernels(), jnp.asarray(x), jnp.asarray(t), label)

    def generate(self, n: int, seed: int = 0) -> jax.Array:
        """`n` clips (n, L) float32 by the ancestral reverse process over all T steps."""
        key_start, key_steps = jax.random.split(jax.random.key(seed))
        x = jax.random.normal(key_start, (n, self.length))
        kernels = self._kernels()
        for t in reversed(range(self.diffusion.num_steps)):
            steps = jnp.full((n,), t)
            noise = jax.random.normal(jax.random.fold_in(key_steps, t), x.shape)
            predicted = _predict_noise(self._graph, self._params, kernels, x, steps, None)
            x = self.diffusion.reverse_step(x, steps, predicted, noise)
        return x / self.config.diffusion.signal_scale

    @functools.cache  # noqa: B019 - one model is loaded and kept, its kernels with it
    def _kernels(self) -> tuple:
        return _s4_kernels(self._graph, self._params)


def load(path: str | Path, *, ema: bool = True) -> Generator:
    """The model of a checkpoint: a run's folder, its `checkpoints` folder or one step of it.

    Args:
      path: the folder.
      ema: use the EMA weights where the checkpoint has them, else the raw ones.

    Raises:
      UserError: no checkpoint there, or not one that can be read.
    """
    saved = checkpoint.load(path, ema=ema)
    return Generator(from_dict(saved.config), saved.weights)


def check_weights(found: Mapping[str, np.ndarray], expected: Mapping[str, jax.ShapeDtypeStruct]) -> None:
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


@functools.partial(jax.jit, static_argnums=0)
def _s4_kernels(graph: nnx.GraphDef, params: dict) -> tuple:
    return weights.merge(graph, params).s4_kernels()


@functools.partial(jax.jit, static_argnums=0)
def _predict_noise(graph: nnx.GraphDef, params: dict, kernels: tuple, x, t, label) -> jax.Array:
    return weights.merge(graph, params)(x, t, label, kernels=kernels)
