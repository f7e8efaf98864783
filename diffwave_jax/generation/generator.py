"""A trained diffusion model in one object: what `diffwave_jax.load` returns and everything else uses."""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, Integer, Real
from ml_collections import ConfigDict

from diffwave_jax.diffusion import Diffusion
from diffwave_jax.doing import doing
from diffwave_jax.errors import UserError
from diffwave_jax.generation import vocoding
from diffwave_jax.generation.batches import Job, OnStep, reverse
from diffwave_jax.generation.chain import Chain, Network, clip_keys, start_noise
from diffwave_jax.generation.choices import Choice, class_names, speaker_names
from diffwave_jax.generation.inputs import (
    ArrayLike,
    audio_like,
    finite_audio,
    labels_like,
    mel_like,
    resampled,
    steps_like,
    voiced_audio,
)
from diffwave_jax.generation.loaded_model import LoadedModel
from diffwave_jax.generation.progress import clip_bar
from diffwave_jax.generation.samplers import SamplerTable, plan
from diffwave_jax.generation.settings import Settings, check_count, check_seed
from diffwave_jax.jax_settings import standard_jax
from diffwave_jax.models import DiffWaveConfig, SaShiMiConfig, labels, model_config, weights
from diffwave_jax.models.compiling import jit
from diffwave_jax.models.conditioner import Condition

DENOISE_STEP, MIX_STEP = 25, 50  # of 200: where a recording enters the chain, and where two clips are mixed


class Generator(LoadedModel[Settings]):
    """A network with its weights and its diffusion process.

    Args:
      config: the run's config.
      params: {dotted name: array}, the weights.

    Raises:
      UserError: the weights are not those of the config's network, or it makes no clips.
    """

    def __init__(self, config: ConfigDict, params: Mapping[str, np.ndarray | jax.Array]):
        if config.train.task != "diffusion":
            raise UserError(f"this is a checkpoint of a {config.model.name}, which makes no clips")
        super().__init__(config, params)
        self.diffusion = Diffusion.from_config(config.diffusion)
        self._chains: dict[int, Chain] = {}

    def __repr__(self) -> str:
        model, seconds = self.config.model, self.length / self.sample_rate
        makes = f"audio of {model.n_mels} mel bands" if model.n_mels else f"clips of {seconds:.2f} s"
        parts = [f"{model.name}, {self.num_parameters:,} weights, {makes} at {self.sample_rate} Hz"]
        if model.n_classes:
            parts.append(f"classes {', '.join(class_names(self.config))}")
        if model.n_speakers:
            parts.append(f"speakers {', '.join(speaker_names(self.config))}")
        return f"<Generator: {'; '.join([*parts, f'fingerprint {self.fingerprint}'])}>"

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
        filters = self._filters if x.shape[1] == self.length else None
        output = _output(self._graph, self._params, filters, x, t, label, mel)
        return self.diffusion.predicted_noise(output, x, t)

    def mel(self, audio: Float[ArrayLike, "*clips samples"], rate: int) -> Float32[np.ndarray, "*clips bands frames"]:
        """The mel spectrogram that this vocoder makes audio of.

        Args:
          audio: (n,) or (B, n) float, -1 to 1.
          rate: its sample rate, Hz; it is resampled to the model's.

        Returns:
          (bands, frames) or (B, bands, frames) float32, with 1 + n // hop frames for n samples at the model's rate.

        Raises:
          UserError: the model is no vocoder; a rate that no audio has; no samples, or some that are not finite.
        """
        front_end = vocoding.front_end(self.config)
        return front_end(resampled(audio, rate, self.sample_rate))

    def vocode(
        self,
        mel: Float[ArrayLike, "*clips bands frames"],
        seed: int = 0,
        steps: int | None = None,
        sampler: str | None = None,
        *,
        eta: float | None = None,
        noise_scale: float | None = None,
        batch_size: int | None = None,
        on_step: OnStep | None = None,
        progress: bool = False,
    ) -> Float32[np.ndarray, "_clips samples"]:
        """Audio of mel spectrograms, for a vocoder.

        Clip i depends on its mel, the settings and i alone. Few lengths are compiled for: shorter clips are padded,
        which changes nothing, and long ones of DiffWave computed in tiles, in bounded memory.

        Args:
          mel: (n, bands, frames) or (bands, frames) float, of this model's own kind: see `mel`.
          seed, steps, sampler, eta, noise_scale, batch_size, on_step, progress: see `generate`.

        Returns:
          (n, frames * hop) float32, about -1 to 1.

        Raises:
          UserError: the model is no vocoder, the mel none of its kind, or a setting that no model has.
        """
        mels = vocoding.front_end(self.config).checked(np.asarray(mel))
        settings = Settings.for_model(
            self.config, seed=seed, sampler=sampler, steps=steps, eta=eta, noise_scale=noise_scale
        )
        rows, n, length = table(self.diffusion, settings, self.config), len(mels), mels.shape[2] * self._hop
        condition = vocoding.padded(mels)
        room = condition.mel.shape[1] * self._hop
        job = Job(rows, range(len(rows.timestep)), settings.seed, np.arange(n), room, condition=condition)
        with clip_bar(n, on_step) if progress else contextlib.nullcontext(on_step) as told:
            states = reverse(self._chain_for(room), job, batch_size=batch_size, on_step=told)
            return np.concatenate([x[:, :length] for _, x in states]) / self._scale

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
        noise_scale: float | None = None,
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
          noise_scale: factor on the fresh noise of each step, 0 to 2.
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
            digit=digit,
            speaker=speaker,
            guidance=guidance,
            guided_steps=guided_steps,
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
        for made, x in reverse(self._chain, job, batch_size=batch_size, on_step=on_step):
            yield made, x / self._scale

    def check(self, settings: Settings) -> None:
        """UserError if this model cannot make clips so."""
        self._table(settings)

    def latents(self, n: int, seed: int = 0) -> Float32[np.ndarray, "{n} samples"]:
        """The start noise z (n, length) float32 of the clips that `generate(n, seed)` makes."""
        check_seed(seed)
        return np.asarray(start_noise(clip_keys(seed, np.arange(check_count(n))), self.length))

    def generate_from_latent(
        self, z: Float[ArrayLike, "clips samples"], settings: Settings | None = None
    ) -> Float32[np.ndarray, "clips samples"]:
        """Clips from their start noise: from `latents(n, seed)` those of `generate(n, seed)`.

        Args:
          z: (n, length) float.
          settings: None for the model's usual ones.

        Returns:
          (n, length) float32.

        Raises:
          UserError: another shape, samples that are not finite, or a setting that this model does not have.
        """
        settings = self._usual(settings)
        return self._states(z, self._table(settings), settings) / self._scale

    def z2w(
        self,
        z: Float[ArrayLike, "clips samples"],
        interp_t: int = MIX_STEP,
        settings: Settings | None = None,
        *,
        on_step: OnStep | None = None,
    ) -> Float32[np.ndarray, "clips samples"]:
        """Start noise to w, the state after the last diffusion step at or above `interp_t`.

        In w, still noisy but already a voice, mixtures are voices too (DiffWave, arXiv 2009.09761, section 5.4).

        Args:
          z: (n, length) float.
          interp_t: a diffusion step, 1 to T - 1.
          settings: None for the model's usual ones.
          on_step: see `generate`.

        Returns:
          (n, length) float32.

        Raises:
          UserError: see `generate_from_latent`.
        """
        settings = self._usual(settings)
        table = self._table(settings)
        return self._states(z, table, settings, rows=range(self._first_below(table, interp_t)), on_step=on_step)

    def generate_from_w(
        self, w: Float[ArrayLike, "clips samples"], interp_t: int = MIX_STEP, settings: Settings | None = None
    ) -> Float32[np.ndarray, "clips samples"]:
        """Clips from w, the state that `z2w` gives, by the steps that it left out.

        w does not carry the prediction of the step before it, which the sampler "dpm++" would use in its first step.

        Args:
          w: (n, length) float.
          interp_t: the diffusion step at which w was made, 1 to T - 1.
          settings: those w was made with; None for the model's usual ones.

        Returns:
          (n, length) float32.

        Raises:
          UserError: another shape, samples that are not finite, or a setting that this model does not have.
        """
        return self._finish(w, interp_t, self._usual(settings), np.arange(len(w)))

    def interpolate(
        self,
        seed_a: int,
        seed_b: int,
        n: int,
        interp_t: int = MIX_STEP,
        settings: Settings | None = None,
        *,
        on_step: OnStep | None = None,
    ) -> Float32[np.ndarray, "{n} samples"]:
        """Clips on the line in w between clip 0 of one seed and clip 0 of another, ends included.

        All share `seed_a`'s noise in the steps after w, so that neighbours differ by w alone, and ask for the same
        digit and speaker, those of clip 0.

        Args:
          seed_a, seed_b: 0 to 2^32 - 1.
          n: number of clips, at least 2.
          interp_t, settings, on_step: see `z2w`; the settings' own seed does not count.

        Returns:
          (n, length) float32.

        Raises:
          UserError: fewer than 2 clips, or see `z2w`.
        """
        if check_count(n) < 2:
            raise UserError(f"n is {n}; an interpolation has at least its 2 ends")
        settings = self._usual(settings)
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
        audio: Float[ArrayLike, "clips samples"],
        step: int = DENOISE_STEP,
        settings: Settings | None = None,
        *,
        on_step: OnStep | None = None,
    ) -> Float32[np.ndarray, "clips samples"]:
        """Audio without its noise, by the reverse process from level `step` on (DiffWave, section 5.4).

        Times sqrt(alpha_bar), a clip with white noise of standard deviation sqrt((1 - alpha_bar) / alpha_bar) is just
        what the network saw at that level in training. A higher level takes out more, of the voice too.

        Args:
          audio: (n, length) float, -1 to 1.
          step: a diffusion step, 0 to T - 1.
          settings: None for the usual steps of the model's sampler.
          on_step: see `generate`.

        Returns:
          (n, length) float32.

        Raises:
          UserError: see `generate_from_latent`.
        """
        settings = settings or Settings.for_model(self.config, start=step)
        table = self._table(settings, start=step)
        x = np.asarray(audio, np.float32) * self._scale * np.float32(table.signal[0])
        return self._states(x, table, settings, on_step=on_step) / self._scale

    def _usual(self, settings: Settings | None) -> Settings:
        return settings or Settings.for_model(self.config)

    def _table(self, settings: Settings, start: int | None = None) -> SamplerTable:
        if self.config.model.n_mels:
            raise UserError(
                f"this model is a vocoder: it makes audio of mel spectrograms of {self.config.model.n_mels} bands; use "
                "vocode, or sample.py --vocode"
            )
        return table(self.diffusion, settings, self.config, start)

    def _first_below(self, table: SamplerTable, interp_t: int) -> int:
        """The first row of the table whose step lies below `interp_t`."""
        most = self.diffusion.num_steps - 1
        if not 1 <= interp_t <= most:
            raise UserError(f"the step at which clips are mixed is {interp_t}; it must be between 1 and {most}")
        return int(np.sum(table.timestep >= interp_t))

    def _finish(self, w: ArrayLike, interp_t: int, settings: Settings, indices, *, on_step=None) -> np.ndarray:
        table = self._table(settings)
        first = self._first_below(table, interp_t)
        # w does not carry the prediction of the step before it.
        table = table._replace(correction=np.where(np.arange(len(table.correction)) == first, 0, table.correction))
        rows = range(first, len(table.timestep))
        return self._states(w, table, settings, rows=rows, indices=indices, on_step=on_step) / self._scale

    def _states(self, x, table: SamplerTable, settings, *, rows=None, indices=None, on_step=None) -> np.ndarray:
        """What `rows` of the table make of the states `x` (n, L), all rows and clips 0 to n - 1 unless told."""
        x = finite_audio(x, self.length)
        job = self._job(table, settings, np.arange(len(x)) if indices is None else indices, start=x)
        job = job if rows is None else replace(job, rows=rows)
        return np.concatenate([states for _, states in reverse(self._chain, job, on_step=on_step)])

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

    def _make_chain(self, filters: tuple) -> Chain:
        network = Network(
            self._graph,
            self._params,
            filters,
            self._num_labels,
            self.diffusion.prediction,
            self.config.model.n_mels,
            self._hop,
            vocoding.tiling(self.config),
        )
        return Chain(network, self.diffusion.num_steps, jax.local_devices())

    def _chain_for(self, length: int) -> Chain:
        """The chain for clips of a length: S4 layers have other filters for each; those of the last length are kept."""
        if not self._filters:
            return self._chain
        if length not in self._chains:
            with standard_jax():
                self._chains = {length: self._make_chain(_filters(self._graph, self._params, length))}
        return self._chains[length]

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

    @functools.cached_property
    def _filters(self) -> tuple:
        if any(".s4." in name for name in self._params):
            doing("making S4 kernels")
        with standard_jax():
            return _filters(self._graph, self._params)


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
    rows = plan(
        diffusion,
        settings.sampler,
        settings.steps,
        eta=settings.eta,
        noise_scale=settings.noise_scale,
        start=start,
        clamp=config.sample.clamp,
    )
    return rows._replace(guidance=settings.guidance_at(rows.timestep))


def _part(on_step: OnStep | None, before: int, total: int) -> OnStep | None:
    """`on_step` for a part of the work, with `before` steps before it and `total` in all."""
    return None if on_step is None else lambda done, _: on_step(before + done, total)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _filters(graph: nnx.GraphDef, params: dict, length: int | None = None) -> tuple:
    return weights.merge(graph, params).filters(length)


@functools.partial(jit, static_argnums=0)
def _output(graph: nnx.GraphDef, params: dict, filters: tuple | None, x, t, label, mel) -> jax.Array:
    network = weights.merge(graph, params)
    filters = network.filters(x.shape[1]) if filters is None else filters
    if mel is None:
        return network(x, t, label, filters=filters)
    condition = network.condition(Condition(jnp.swapaxes(mel, 1, 2)), x.shape[1])
    return network(x, t, label, filters=filters, condition=condition)
