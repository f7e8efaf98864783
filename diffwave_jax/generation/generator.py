"""A trained model in one object: what `diffwave_jax.load` returns and everything else uses."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from diffwave_jax.generation.batches import Job, OnStep, reverse
from diffwave_jax.generation.chain import Chain, Network, clip_keys, start_noise
from diffwave_jax.generation.samplers import SamplerTable, plan
from diffwave_jax.generation.settings import ANCESTRAL, Settings
from diffwave_jax.models import build, labels, weights
from diffwave_jax.models.compiling import jit

DENOISE_STEP, MIX_STEP = 25, 50  # of 200: where a recording enters the chain, and where two clips are mixed


class Generator:
    """A network with its weights and its diffusion process.

    Args:
      config: the run's config.
      params: {dotted name: array}, the weights.

    Raises:
      UserError: the weights are not those of the config's network, or it makes no clips.
    """

    def __init__(self, config: ConfigDict, params: Mapping[str, np.ndarray]):
        if config.train.task != "diffusion":
            raise UserError(f"this is a checkpoint of a {config.model.name}, which makes no clips")
        self.config = config
        self._graph, expected = weights.abstract(lambda: build(config.model, rngs=nnx.Rngs(0)))
        check_weights(params, expected)
        self._params = {name: jnp.asarray(value, jnp.float32) for name, value in params.items()}
        self.diffusion = Diffusion.from_config(config.diffusion)

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

    @functools.cached_property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that tell these weights from any others."""
        return weights.fingerprint(self._params)

    def predict_noise(self, x: jax.Array, t: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Predicted noise (B, L) of noisy audio `x` (B, L) at 0-based steps `t` (B,).

        Of a conditional model, `label` (B,) is the class, or what `diffwave_jax.models.labels` says.
        """
        x, t = jnp.asarray(x), jnp.asarray(t)
        output = _output(self._graph, self._params, self._filters(), x, t, label)
        return self.diffusion.predicted_noise(output, x, t)

    def generate(
        self,
        n: int,
        seed: int = 0,
        steps: int | None = 25,
        sampler: str = "dpm++",
        digit: int | Sequence[int] | None = None,
        guidance: float = 1.0,
        on_step: OnStep | None = None,
        *,
        eta: float | None = None,
        speaker: int | Sequence[int] | None = None,
        guided_steps: tuple[int, int] | None = None,
        noise_scale: float = 1.0,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """`n` clips (n, L) float32; clip i depends on the settings and on i alone.

        Args:
          n: number of clips, at least 1.
          seed, steps, sampler, digit, guidance, eta, speaker, guided_steps, noise_scale: see `Settings`.
          on_step: called as `on_step(done, total)` after each step of each batch.
          batch_size: clips at a time; None for what the devices' memory holds.

        Raises:
          UserError: a setting that this model, or any model, does not have.
        """
        settings = Settings(seed, sampler, steps, eta, digit, guidance, speaker, guided_steps, noise_scale)
        if n < 1:
            raise UserError(f"n is {n}; ask for at least 1 clip")
        batches = self.clips(range(n), settings, batch_size=batch_size, on_step=on_step)
        return np.concatenate([audio for _, audio in batches])

    def clips(
        self,
        indices: Sequence[int],
        settings: Settings,
        *,
        batch_size: int | None = None,
        on_step: OnStep | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The clips of these indices, batch by batch: (b,) indices and (b, L) float32 audio; else as `generate`."""
        job = self._job(self._table(settings), settings, indices)
        for made, x in reverse(self._chain, job, batch_size=batch_size, on_step=on_step):
            yield made, x / self._scale

    def latents(self, n: int, seed: int = 0) -> np.ndarray:
        """The start noise z (n, L) of the clips that `generate(n, seed)` makes."""
        return np.asarray(start_noise(clip_keys(seed, np.arange(n)), self.length))

    def generate_from_latent(self, z: np.ndarray, settings: Settings = ANCESTRAL) -> np.ndarray:
        """Clips (n, L) from start noise `z` (n, L); `generate(n, ...)` is this from `latents(n, seed)`."""
        return self._states(z, self._table(settings), settings) / self._scale

    def z2w(
        self, z: np.ndarray, interp_t: int = MIX_STEP, settings: Settings = ANCESTRAL, *, on_step: OnStep | None = None
    ) -> np.ndarray:
        """Start noise `z` (n, L) to w (n, L), the state after the last step at or above `interp_t`.

        In w, still noisy but already a voice, mixtures are voices too (DiffWave, arXiv 2009.09761, section 5.4).
        """
        table = self._table(settings)
        return self._states(z, table, settings, rows=range(self._first_below(table, interp_t)), on_step=on_step)

    def generate_from_w(self, w: np.ndarray, interp_t: int = MIX_STEP, settings: Settings = ANCESTRAL) -> np.ndarray:
        """Clips (n, L) from `w` (n, L), by the steps that `z2w` left out."""
        return self._finish(w, interp_t, settings, np.arange(len(w)))

    def interpolate(
        self,
        seed_a: int,
        seed_b: int,
        n: int,
        interp_t: int = MIX_STEP,
        settings: Settings = ANCESTRAL,
        *,
        on_step: OnStep | None = None,
    ) -> np.ndarray:
        """`n` clips (n, L) on the line in w between clip 0 of `seed_a` and clip 0 of `seed_b`, ends included.

        All share `seed_a`'s noise in the steps after w, so that neighbours differ by w alone, and ask for the same
        digit and speaker, those of clip 0.
        """
        if n < 2:
            raise UserError(f"n is {n}; an interpolation has at least its 2 ends")
        table = self._table(settings)
        above = self._first_below(table, interp_t)  # steps that each end takes alone
        now, then, at_last = (_part(on_step, k * above, above + len(table.timestep)) for k in range(3))
        end_a, end_b = (replace(settings, seed=seed) for seed in (seed_a, seed_b))
        w_a = self.z2w(self.latents(1, seed_a), interp_t, end_a, on_step=now)
        w_b = self.z2w(self.latents(1, seed_b), interp_t, end_b, on_step=then)
        share = np.linspace(0, 1, n, dtype=np.float32)[:, None]
        w = (1 - share) * w_a + share * w_b
        return self._finish(w, interp_t, end_a, np.zeros(n, int), on_step=at_last)

    def denoise(
        self,
        audio: np.ndarray,
        step: int = DENOISE_STEP,
        settings: Settings = ANCESTRAL,
        *,
        on_step: OnStep | None = None,
    ) -> np.ndarray:
        """Audio (n, L) without its noise, by the reverse process from level `step` on (DiffWave, section 5.4).

        Times sqrt(alpha_bar), a clip with white noise of standard deviation sqrt((1 - alpha_bar) / alpha_bar) is just
        what the network saw at that level in training. A higher level takes out more, of the voice too.
        """
        table = self._table(settings, start=step)
        x = np.asarray(audio, np.float32) * self._scale * np.float32(table.signal[0])
        return self._states(x, table, settings, on_step=on_step) / self._scale

    def steps_of(self, settings: Settings, start: int | None = None) -> int:
        """Evaluations of the network that a clip takes, from level `start` if given; errors as `generate`."""
        return len(self._table(settings, start).timestep)

    def _table(self, settings: Settings, start: int | None = None) -> SamplerTable:
        return table(self.diffusion, settings, self.config.model, start)

    def _first_below(self, table: SamplerTable, interp_t: int) -> int:
        """The first row of the table whose step lies below `interp_t`."""
        most = self.diffusion.num_steps - 1
        if not 1 <= interp_t <= most:
            raise UserError(f"the step at which clips are mixed is {interp_t}; it must be between 1 and {most}")
        return int(np.sum(table.timestep >= interp_t))

    def _finish(self, w: np.ndarray, interp_t: int, settings: Settings, indices, *, on_step=None) -> np.ndarray:
        table = self._table(settings)
        first = self._first_below(table, interp_t)
        table.correction[first : first + 1] = 0  # w does not carry the prediction of the step before it
        rows = range(first, len(table.timestep))
        return self._states(w, table, settings, rows=rows, indices=indices, on_step=on_step) / self._scale

    def _states(self, x, table: SamplerTable, settings, *, rows=None, indices=None, on_step=None) -> np.ndarray:
        """What `rows` of the table make of the states `x` (n, L), all rows and clips 0 to n - 1 unless told."""
        x = np.asarray(x, np.float32)
        if x.ndim != 2 or x.shape[1] != self.length or not len(x):
            raise UserError(f"this model works on arrays (n, {self.length}) with n at least 1; got {x.shape}")
        job = self._job(table, settings, np.arange(len(x)) if indices is None else indices, start=x)
        job = job if rows is None else replace(job, rows=rows)
        return np.concatenate([states for _, states in reverse(self._chain, job, on_step=on_step)])

    def _job(self, table: SamplerTable, settings: Settings, indices: Sequence[int], start=None) -> Job:
        indices = np.asarray(indices)
        model = self.config.model
        wanted = [settings.label_of(index, model.n_classes, model.n_speakers) for index in indices.tolist()]
        rows = range(len(table.timestep))
        asked = np.array(wanted) if model.n_classes else None
        return Job(table, rows, settings.seed, indices, self.length, asked, start)

    @property
    def _scale(self) -> np.float32:
        return np.float32(self.config.diffusion.signal_scale)

    @functools.cached_property
    def _chain(self) -> Chain:
        n_labels = labels.count(self.config.model.n_classes, self.config.model.n_speakers)
        network = Network(self._graph, self._params, self._filters(), n_labels, self.diffusion.prediction)
        return Chain(network, self.diffusion.num_steps, jax.local_devices())

    @functools.cache  # noqa: B019 - one model is loaded and kept, its filters with it
    def _filters(self) -> tuple:
        return _filters(self._graph, self._params)


def table(diffusion: Diffusion, settings: Settings, model: ConfigDict, start: int | None = None) -> SamplerTable:
    """What settings mean for a config's `model`: a sampler's table, from level `start` if given, with its guidance.

    Raises:
      UserError: a setting that this model, or any model, does not have.
    """
    settings.check(model.n_classes, model.n_speakers)
    changes = {"eta": settings.eta, "noise_scale": settings.noise_scale, "start": start}
    rows = plan(diffusion, settings.sampler, settings.steps, **changes)
    return rows._replace(guidance=settings.guidance_at(rows.timestep))


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


def _part(on_step: OnStep | None, before: int, total: int) -> OnStep | None:
    """`on_step` for a part of the work, with `before` steps before it and `total` in all."""
    return None if on_step is None else lambda done, _: on_step(before + done, total)


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
def _filters(graph: nnx.GraphDef, params: dict) -> tuple:
    return weights.merge(graph, params).filters()


@functools.partial(jit, static_argnums=0)
def _output(graph: nnx.GraphDef, params: dict, filters: tuple, x, t, label) -> jax.Array:
    return weights.merge(graph, params)(x, t, label, filters=filters)
