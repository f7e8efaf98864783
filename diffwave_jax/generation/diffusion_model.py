"""A diffusion model with its weights: what its network predicts, and clips from noise."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Integer, Real
from ml_collections import ConfigDict

from diffwave_jax.config import DENOISING
from diffwave_jax.diffusion import Diffusion
from diffwave_jax.doing import doing
from diffwave_jax.errors import UserError
from diffwave_jax.generation import vocoding
from diffwave_jax.generation.batches import Job, OnStep, reverse
from diffwave_jax.generation.chain import Chain, Network
from diffwave_jax.generation.choices import Choice
from diffwave_jax.generation.inputs import (
    ArrayLike,
    audio_like,
    labels_like,
    mel_like,
    steps_like,
    voiced_audio,
)
from diffwave_jax.generation.loaded_model import LoadedModel
from diffwave_jax.generation.progress import clip_bar
from diffwave_jax.generation.samplers import SamplerTable, plan, polished, spliced
from diffwave_jax.generation.settings import Settings, check_count, guidance_at
from diffwave_jax.jax_settings import standard_jax
from diffwave_jax.models import DiffWaveConfig, SaShiMiConfig, labels, model_config, weights
from diffwave_jax.models.compiling import jit
from diffwave_jax.models.conditioner import Condition

KEPT_SAMPLES = 2**17  # whose filters are kept: 0.7 GB at the published size of SaShiMi


class DiffusionModel(LoadedModel[Settings]):
    """A network with its weights and its diffusion process.

    Args:
      config: the run's config.
      params: {dotted name: array}, the weights.

    Raises:
      UserError: the weights are not those of the config's network, or it makes no clips.
    """

    def __init__(self, config: ConfigDict, params: Mapping[str, np.ndarray | jax.Array]):
        if config.train.task not in DENOISING:
            raise UserError(f"this is a checkpoint of a {config.model.name}, which makes no clips")
        super().__init__(config, params)
        self.diffusion = Diffusion.from_config(config.diffusion)
        self._chains: dict[tuple[int, float], Chain] = {}

    @standard_jax()
    def predict_noise(
        self,
        x: Float[ArrayLike, "batch samples"],
        t: Real[ArrayLike, " batch"],
        label: Int[ArrayLike, " batch"] | None = None,
        mel: Float[ArrayLike, "batch bands frames"] | None = None,
    ) -> Float32[Array, "batch samples"]:
        """What the network takes for the noise in noisy audio; differentiable.

        Args:
          x: (B, L) float, the audio.
          t: (B,) 0-based diffusion steps, 0 to T - 1, possibly fractional.
          label: (B,) classes, or what `diffwave_jax.models.labels` says; None for none. For a conditional model only.
          mel: (B, bands, frames) float, mel spectrograms that last L samples or longer. For a vocoder only.

        Returns:
          (B, L) float32.

        Raises:
          UserError: another shape, a step or a label that this model does not have.
        """
        mel = mel_like(mel, self.config.model.n_mels)
        x = audio_like(x, self.length) if mel is None else voiced_audio(x, mel, self._period, self._hop)
        t = steps_like(t, len(x), self.diffusion.num_steps)
        label = labels_like(label, len(x), self._num_labels)
        filters = None
        if not self._has_s4:
            filters = ()  # those of DiffWave are faster, but have no gradient
        elif x.shape[1] == self.length:
            filters = self._filters
        output = _output(self._graph, self._params, filters, x, t, label, mel)
        return self.diffusion.predicted_noise(output, x, t)

    def generate(
        self,
        n: int,
        seed: int = 0,
        steps: int | None = None,
        sampler: str | None = None,
        digit: Choice | None = None,
        guidance: float | None = None,
        on_step: OnStep | None = None,
        *,
        eta: float | None = None,
        speaker: Choice | None = None,
        guided_steps: Sequence[int] | None = None,
        guide_memory: float | None = None,
        early: Sequence[float] | None = None,
        noise_scale: float | None = None,
        levels: Sequence[int] | None = None,
        polish: int | None = None,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> Float32[np.ndarray, "{n} samples"]:
        """Clips as they are asked for, and where nothing is said (None) as this model's config says.

        Clip i depends on the settings and on i alone.

        Args:
          n: number of clips, at least 1.
          seed: of all randomness, 0 to 2^32 - 1.
          steps: evaluations of the network for each clip.
          sampler: a name in `diffwave_jax.generation.samplers.SAMPLERS`.
          digit: the class to say, by number or name, or several that the clips take in turn; `()` for none.
          guidance: classifier-free guidance scale; 1 for the plain conditional model.
          on_step: called as `on_step(done, total)` after each step of each batch.
          eta: share of fresh noise, 0 to 1, for "ddim" and "dpm++sde".
          speaker: who says it, by number or name, or several who take turns; `()` for all.
          guided_steps: the lowest and the highest diffusion step at which guidance is applied; `()` for all.
          guide_memory: seconds that S4 layers hear in the prediction that guidance leads away from; 0 for all.
          early: a diffusion step, and guidance and noise scale at that step and all noisier ones; `()` for no others.
          noise_scale: factor on the fresh noise of each step, 0 to 2.
          levels: the diffusion steps to evaluate the network at, noisiest first, in place of `steps`.
          polish: the diffusion step of a last posterior-mean pass, one evaluation more.
          batch_size: clips at a time; None for what the devices' memory holds.
          progress: show a bar.

        Returns:
          (n, length) float32, about -1 to 1.

        Raises:
          UserError: a setting that this model, or any model, does not have.
        """
        settings = Settings.for_model(
            self.config,
            seed=seed,
            sampler=sampler,
            steps=steps,
            eta=eta,
            noise_scale=noise_scale,
            levels=levels,
            polish=polish,
            digit=digit,
            speaker=speaker,
            guidance=guidance,
            guided_steps=guided_steps,
            guide_memory=guide_memory,
            early=early,
        )
        indices = range(check_count(n))
        with clip_bar(n, on_step) if progress else contextlib.nullcontext(on_step) as told:
            batches = self.clips(indices, settings, batch_size=batch_size, on_step=told)
            return np.concatenate([audio for _, audio in batches])

    def clips(
        self,
        indices: Sequence[int],
        settings: Settings,
        *,
        batch_size: int | None = None,
        on_step: OnStep | None = None,
    ) -> Iterator[tuple[Integer[np.ndarray, " clips"], Float32[np.ndarray, "clips samples"]]]:
        """The clips of some indices, batch by batch, as soon as each is made.

        Args:
          indices: which clips, each at least 0.
          settings: how they are made.
          batch_size, on_step: see `generate`.

        Yields:
          (b,) indices and their clips (b, length) float32.

        Raises:
          UserError: a setting that this model, or any model, does not have.
        """
        job = self._job(self._table(settings), settings, indices)
        for made, x in reverse(self._chain_of(settings), job, batch_size=batch_size, on_step=on_step):
            yield made, x / self._scale

    def check(self, settings: Settings) -> None:
        """UserError if this model cannot make clips so."""
        self._table(settings)

    def _table(self, settings: Settings, start: int | None = None) -> SamplerTable:
        if self.config.model.n_mels:
            raise UserError(
                f"this model is a vocoder: it makes audio of mel spectrograms of {self.config.model.n_mels} bands; use "
                "vocode, or sample.py --vocode"
            )
        return table(self.diffusion, settings, self.config, start)

    def _job(self, table: SamplerTable, settings: Settings, clips: Sequence[int] | np.ndarray, start=None) -> Job:
        indices = np.asarray(clips)
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
        return self._make_chain(self._filters)

    def _chain_of(self, settings: Settings) -> Chain:
        """The chain for clips of the usual length."""
        return self._chain_for(self.length, settings.guide_memory) if settings.guide_memory else self._chain

    def _make_chain(self, filters: tuple, guide_memory: float = 0.0) -> Chain:
        memory = guide_memory * self.sample_rate
        network = Network(
            self._graph,
            self._params,
            filters,
            self._num_labels,
            self.diffusion.prediction,
            self.config.model.n_mels,
            self._hop,
            vocoding.tiling(self.config),
            short_filters_of(self._graph, self._params, filters, memory) if memory else None,
        )
        return Chain(network, self.diffusion.num_steps, jax.local_devices())

    def _chain_for(self, length: int, guide_memory: float = 0.0) -> Chain:
        """The chain for clips of a length: S4 layers have other filters for each; those of the last few are kept."""
        if not self._has_s4:
            return self._chain
        key = length, guide_memory
        if key not in self._chains:
            with standard_jax():
                usual = length == self.length
                filters = self._filters if usual else filters_of(self._graph, self._params, length)
                self._chains[key] = self._make_chain(filters, guide_memory)
        self._chains[key] = chain = self._chains.pop(key)  # the newest stands last
        while len(self._chains) > 1 and sum(samples for samples, _ in self._chains) > KEPT_SAMPLES:
            del self._chains[next(iter(self._chains))]
        return chain

    @property
    def _hop(self) -> int:
        return int(np.prod(self.config.model.upsample))

    @property
    def _period(self) -> int:
        model = model_config(self.config.model)
        assert isinstance(model, DiffWaveConfig | SaShiMiConfig)  # what a Generator is for
        return model.period

    @property
    def _num_labels(self) -> int:
        return labels.count(self.config.model.n_classes, self.config.model.n_speakers)

    @property
    def _has_s4(self) -> bool:
        return any(".s4." in name for name in self._params)

    @functools.cached_property
    def _filters(self) -> tuple:
        if self._has_s4:
            doing("making S4 kernels")
        with standard_jax():
            return filters_of(self._graph, self._params)


def table(diffusion: Diffusion, settings: Settings, config: ConfigDict, start: int | None = None) -> SamplerTable:
    """What settings mean for a config's model: the weights of each step, with its guidance.

    Args:
      diffusion: that of the config.
      settings: how clips are made.
      config: the model's.
      start: the diffusion step that the chain starts from; None for pure noise.

    Raises:
      UserError: a setting that this model, or any model, does not have.
    """
    settings.check(config)
    rows = _unspliced(diffusion, settings, config, start)
    if settings.early:
        rows = spliced(_unspliced(diffusion, settings.at_early_steps, config, start), rows, settings.early[0])
    return rows if settings.polish is None else polished(rows, diffusion, settings.polish)


def _unspliced(diffusion: Diffusion, settings: Settings, config: ConfigDict, start: int | None) -> SamplerTable:
    """The rows that settings mean, but for `early` and `polish`."""
    rows = plan(
        diffusion,
        settings.sampler,
        settings.steps,
        eta=settings.eta,
        noise_scale=settings.noise_scale,
        start=start,
        levels=settings.levels,
        clamp=config.sample.clamp,
    )
    return rows._replace(guidance=guidance_at(rows.timestep, settings.guidance, settings.guided_steps))


@functools.partial(jax.jit, static_argnums=(0, 2))
def filters_of(graph: nnx.GraphDef, params: dict, length: int | None = None) -> tuple:
    """The spectra of a network's S4 filters for clips of `length` samples, None for its own; () if it has none."""
    return weights.merge(graph, params).filters(length)


@functools.partial(jax.jit, static_argnums=(0, 3))
def short_filters_of(graph: nnx.GraphDef, params: dict, filters: tuple, memory: float) -> tuple:
    """A SaShiMi's filters with a memory of so many samples, see `SaShiMi.short_filters`."""
    return weights.merge(graph, params).short_filters(filters, memory)


@functools.partial(jit, static_argnums=0)
def _output(graph: nnx.GraphDef, params: dict, filters: tuple | None, x, t, label, mel) -> jax.Array:
    network = weights.merge(graph, params)
    filters = network.filters(x.shape[1]) if filters is None else filters
    if mel is None:
        return network(x, t, label, filters=filters)
    condition = network.condition(Condition(jnp.swapaxes(mel, 1, 2)), x.shape[1])
    return network(x, t, label, filters=filters, condition=condition)
