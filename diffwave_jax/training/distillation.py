"""The task of doing in one step what a teacher does in several.

Progressive distillation (Salimans and Ho, arXiv 2202.00512) of a guided teacher (Meng et al., arXiv 2210.03142) onto K
levels at once; docs/distillation.md derives it.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from diffwave_jax.diffusion import Diffusion, noise_in
from diffwave_jax.errors import UserError
from diffwave_jax.generation import samplers
from diffwave_jax.generation.chain import Conditions, Network, guided_rows, walk
from diffwave_jax.generation.diffusion_model import filters_of, short_filters_of
from diffwave_jax.generation.samplers import ChainState, SamplerTable
from diffwave_jax.generation.samplers.update import Column
from diffwave_jax.models import DiffWave, SaShiMi, build, labels, weights
from diffwave_jax.models.conditioner import Condition
from diffwave_jax.training.segments import Segments
from diffwave_jax.training.teacher import load_teacher

Clips = Float[Array, "clips samples"]
Denoiser = DiffWave | SaShiMi


class DistillationTask:
    """Lands in one DDIM step where a frozen teacher lands in several.

    A step draws noise and labels, and follows each clip down all K levels. At each of them the teacher walks the
    segment to the next level; the student learns to predict the clean audio with which it would land at the same place.
    The next level is entered from where the teacher landed or, with probability `distill.own`, from where the student
    itself did, so that it learns from its own inputs too.

    The S4 layers' filters, state spaces and D, are the teacher's and stay so: a student differs in all other weights.

    Args:
      config: as `diffwave_jax.training.teacher.with_teacher` gives it.

    Raises:
      UserError: it is not whole.
    """

    def __init__(self, config: ConfigDict):
        if not config.distill.walk:
            raise UserError("train.task is distillation, but the config has no teacher's walk: call with_teacher first")
        self._config, self._own = config, config.distill.own
        self._diffusion = Diffusion.from_config(config.diffusion)
        self._segments = Segments.from_config(self._diffusion, config.distill)
        self._n_labels = labels.count(config.model.n_classes, config.model.n_speakers)
        self._graph, shapes = weights.abstract(self._fresh)
        self._has_s4 = any(".s4." in name for name in shapes)
        self.needs_data = bool(config.model.n_mels)

    def build(self, rngs: nnx.Rngs) -> Denoiser:
        """The network, which begins as its teacher."""
        del rngs
        return weights.merge(self._graph, self._teacher())

    def constants(self) -> dict:
        """The teacher's weights, the spectra of its filters, and with `distill.guide_memory` those of its guide."""
        teacher, memory = self._teacher(), (self._config.distill.guide_memory or 0.0) * self._config.data.sample_rate
        filters = filters_of(self._graph, teacher)
        weaker = short_filters_of(self._graph, teacher, filters, memory) if memory else None
        return {"teacher": teacher, "filters": filters, "weaker": weaker}

    def prepare(self, clips: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A vocoder's mels; labels are drawn."""
        return {name: clips[name] for name in ("label", "mel") if name in clips}

    def loss(self, network: Denoiser, batch: dict, key: jax.Array) -> tuple[jax.Array, dict]:
        """The error of the clean audio at every level; see `Task.loss`."""
        clips = self._clips(network, batch, key)
        start, wanted = self._examples(*self._stopped(network, clips), batch)
        levels, size = start.shape[:2]
        everywhere = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * levels), clips)
        rows = jax.tree.map(lambda column: jnp.repeat(column, size)[:, None], _float32(self._segments.student))
        found = self._clean(network, batch["filters"], start.reshape(levels * size, -1), rows, everywhere)
        errors = jnp.mean(jnp.square(found.reshape(start.shape) - wanted), axis=-1)
        weight = jnp.asarray(self._segments.weight, errors.dtype)[:, None]
        return jnp.mean(weight * errors), self._metrics(weight * errors)

    def validation_loss(self, network: Denoiser, batch: dict, key: jax.Array) -> tuple[jax.Array, dict]:
        """The same."""
        return self.loss(network, batch, key)

    def _fresh(self, rngs: nnx.Rngs) -> Denoiser:
        network = build(self._config.model, rngs=rngs)
        assert isinstance(network, Denoiser)  # a teacher is one
        return network

    def _teacher(self) -> weights.Weights:
        return load_teacher(self._config).params

    def _clips(self, network: Denoiser, batch: dict, key: jax.Array) -> Conditions:
        """The batch's clips: keys, labels drawn from all there are and "none", a vocoder's mels for the student."""
        keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(batch["index"])
        asked = None
        if self._n_labels:
            asked = jax.vmap(lambda key: jax.random.randint(key, (), 0, self._n_labels + 1))(keys)
        return Conditions(keys, asked, self._condition(network, batch))

    def _condition(self, network: Denoiser, batch: dict) -> Condition | None:
        return network.condition(Condition(batch["mel"]), self._length(batch)) if "mel" in batch else None

    def _length(self, batch: dict) -> int:
        model = self._config.model
        return batch["mel"].shape[1] * int(np.prod(model.upsample)) if "mel" in batch else model.length

    def _stopped(self, network: Denoiser, clips: Conditions) -> tuple[Denoiser, Conditions]:
        """The same, behind which no gradient is looked for: a teacher's walk may have none."""
        stop = jax.lax.stop_gradient
        clips = clips._replace(condition=stop(clips.condition))
        return weights.merge(self._graph, stop(weights.split(network)[1])), clips

    def _examples(self, network: Denoiser, clips: Conditions, batch: dict) -> tuple[jax.Array, jax.Array]:
        """(K, B, L) the student's input at each level, and the clean audio that it should predict there."""
        cut, walked = self._segments, self._walk(batch, clips)

        def segment(x: Clips, level: tuple) -> tuple[Clips, tuple[Clips, Clips]]:
            number, row, shrink, share = level
            landed = walked(x, number)
            own = shrink * x + share * self._clean(network, batch["filters"], x, row, clips)
            keys = jax.vmap(lambda key: jax.random.fold_in(key, 1 + number))(clips.keys)
            itself = jax.vmap(lambda key: jax.random.bernoulli(key, self._own))(keys)
            return jnp.where(itself[:, None], own, landed), (x, jnp.asarray(target(landed, x, shrink, share)))

        x = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), (self._length(batch),)))(clips.keys)
        numbers = jnp.arange(len(cut.student.timestep))
        levels = numbers, _float32(cut.student), *_float32((cut.shrink, cut.share))
        return jax.lax.scan(segment, x, levels)[1]

    def _walk(self, batch: dict, clips: Conditions) -> Callable[[Clips, jax.Array], Clips]:
        """Where the teacher lands from (B, L) audio at the start of the segment of a number."""
        cut, shared = self._segments, (batch["teacher"], batch["filters"], batch["weaker"])
        taught = clips._replace(condition=self._condition(weights.merge(self._graph, batch["teacher"]), batch))
        frozen = Network(self._graph, {}, (), self._n_labels, self._diffusion.prediction)
        table, first_rows = _float32(cut.teacher), jnp.asarray(cut.bounds)
        asks_twice = guided_rows(cut.teacher, clips.labels, batch["weaker"])
        guided = np.logical_or.reduceat(asks_twice, cut.bounds[:-1])

        def follow(with_guidance: bool, x: Clips, number: jax.Array) -> Clips:
            bounds = first_rows[number], first_rows[number + 1]
            state = ChainState(x, jnp.zeros_like(x))
            return jnp.asarray(walk(frozen, with_guidance, shared, table, state, taught, bounds).x)

        if guided.all() or not guided.any():
            return partial(follow, bool(guided[0]))
        # A segment without guidance costs half.
        return lambda x, number: jax.lax.cond(
            jnp.asarray(guided)[number], partial(follow, True), partial(follow, False), x, number
        )

    def _clean(self, network: Denoiser, filters: tuple, x: Clips, row: SamplerTable, clips: Conditions) -> Clips:
        """(B, L) the clean audio that a network predicts at a row's level, or at a row for each clip."""
        t = jnp.broadcast_to(jnp.ravel(row.timestep), x.shape[:1])
        heard = {} if clips.condition is None else {"condition": clips.condition}
        # Without S4 layers filters are made of the teacher's own weights, for a call without gradient.
        output = network(x, t, clips.labels, filters=filters if self._has_s4 else (), **heard)
        signal, level = jnp.asarray(row.signal), jnp.asarray(row.noise_level)
        return jnp.asarray(samplers.clean(row, x, noise_in(self._diffusion.prediction, output, x, signal, level)))

    def _metrics(self, errors: jax.Array) -> dict:
        """The loss, and that of each level under its diffusion step."""
        metrics = {"loss": (jnp.sum(errors), jnp.float32(errors.size))}
        for level, error in zip(self._config.sample.levels, errors, strict=True):
            metrics[f"loss_from_{level}"] = (jnp.sum(error), jnp.float32(error.size))
        return metrics


def target(
    landed: Float[Column, "*clips samples"],
    x: Float[Column, "*clips samples"],
    shrink: Column | float,
    share: Column | float,
) -> Float[Column, "*clips samples"]:
    """The clean audio whose DDIM step from `x` lands at `landed` (2202.00512, equation 8 and appendix G).

    Args:
      landed, x: (B, L) audio where a segment ends and where it starts.
      shrink, share: see `diffwave_jax.training.segments.Segments`.
    """
    return (landed - shrink * x) / share


def _float32(table):
    return jax.tree.map(lambda column: jnp.asarray(column, jnp.float32), table)
