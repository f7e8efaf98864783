"""A trained diffusion model in one object: what `diffwave_jax.load` returns and everything else uses."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Float32

from diffwave_jax.errors import UserError
from diffwave_jax.generation import vocoding
from diffwave_jax.generation.batches import Job, OnStep, reverse
from diffwave_jax.generation.chain import clip_keys, start_noise
from diffwave_jax.generation.choices import class_names, speaker_names
from diffwave_jax.generation.diffusion_model import DiffusionModel, table
from diffwave_jax.generation.inputs import (
    ArrayLike,
    check_scale,
    finite_audio,
    resampled,
)
from diffwave_jax.generation.progress import clip_bar
from diffwave_jax.generation.samplers import SamplerTable
from diffwave_jax.generation.settings import Settings, check_count, check_seed

DENOISE_STEP, MIX_STEP = 25, 50  # of 200: where a recording enters the chain, and where two clips are mixed


class Generator(DiffusionModel):
    """A trained diffusion model: clips from noise, clips between others, recordings without noise, and vocoding.

    Args:
      config: the run's config.
      params: {dotted name: array}, the weights.

    Raises:
      UserError: the weights are not those of the config's network, or it makes no clips.
    """

    def __repr__(self) -> str:
        model, seconds = self.config.model, self.length / self.sample_rate
        makes = f"audio of {model.n_mels} mel bands" if model.n_mels else f"clips of {seconds:.2f} s"
        parts = [f"{model.name}, {self.num_parameters:,} weights, {makes} at {self.sample_rate} Hz"]
        if model.n_classes:
            parts.append(f"classes {', '.join(class_names(self.config))}")
        if model.n_speakers:
            parts.append(f"speakers {', '.join(speaker_names(self.config))}")
        return f"<Generator: {'; '.join([*parts, f'fingerprint {self.fingerprint}'])}>"

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
        levels: Sequence[int] | None = None,
        polish: int | None = None,
        match: int | None = None,
        batch_size: int | None = None,
        on_step: OnStep | None = None,
        progress: bool = False,
    ) -> Float32[np.ndarray, "_clips samples"]:
        """Audio of mel spectrograms, for a vocoder.

        Clip i depends on its mel, the settings and i alone. Few lengths are compiled for: shorter clips are padded,
        which changes nothing, and long ones of DiffWave computed in tiles, in bounded memory.

        Args:
          mel: (n, bands, frames) or (bands, frames) float, of this model's own kind: see `mel`.
          match: rounds that pull the audio to the mel, before the chain and after each step, see
            `diffwave_jax.mel_match.match`; 0 for none.
          seed, steps, sampler, eta, noise_scale, levels, polish, batch_size, on_step, progress: see `generate`.

        Returns:
          (n, frames * hop) float32, about -1 to 1.

        Raises:
          UserError: the model is no vocoder, the mel none of its kind, or a setting that no model has.
        """
        front_end = vocoding.front_end(self.config)
        mels = front_end.checked(np.asarray(mel))
        settings = Settings.for_model(
            self.config,
            seed=seed,
            sampler=sampler,
            steps=steps,
            eta=eta,
            noise_scale=noise_scale,
            levels=levels,
            polish=polish,
            match=match,
        )
        rows, n, length = table(self.diffusion, settings, self.config), len(mels), mels.shape[2] * self._hop
        condition = vocoding.padded(mels)
        room = condition.mel.shape[1] * self._hop
        job = Job(rows, range(len(rows.timestep)), settings.seed, np.arange(n), room, condition=condition)
        if settings.match:
            job = vocoding.matching(job, front_end, mels, settings.match, float(self._scale))
        with clip_bar(n, on_step) if progress else contextlib.nullcontext(on_step) as told:
            states = reverse(self._chain_for(room), job, batch_size=batch_size, on_step=told)
            return np.concatenate([x[:, :length] for _, x in states]) / self._scale

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
        check_scale(np.asarray(audio))
        x = np.asarray(audio, np.float32) * self._scale * np.float32(table.signal[0])
        return self._states(x, table, settings, on_step=on_step) / self._scale

    def _usual(self, settings: Settings | None) -> Settings:
        return settings or Settings.for_model(self.config)

    def _first_below(self, table: SamplerTable, interp_t: int) -> int:
        """The first row of the table whose step lies below `interp_t`."""
        most = self.diffusion.num_steps - 1
        if not 1 <= interp_t <= most:
            raise UserError(f"the step at which clips are mixed is {interp_t}; it must be between 1 and {most}")
        below = np.append(table.timestep < interp_t, True)
        return int(np.argmax(below))  # the pass that may follow the chain begins with noise again

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
        return np.concatenate([states for _, states in reverse(self._chain_of(settings), job, on_step=on_step)])


def _part(on_step: OnStep | None, before: int, total: int) -> OnStep | None:
    """`on_step` for a part of the work, with `before` steps before it and `total` in all."""
    return None if on_step is None else lambda done, _: on_step(before + done, total)
