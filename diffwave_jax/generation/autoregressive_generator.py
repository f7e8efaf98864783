"""A trained autoregressive model in one object: what `diffwave_jax.load` returns for such a checkpoint."""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Float32, Int32, Integer, Real
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.generation.autoregression import DRAWN, Autoregression, Network, Stepper, uniforms
from diffwave_jax.generation.batches import OnStep
from diffwave_jax.generation.chain import clip_keys
from diffwave_jax.generation.drawing import log_probability
from diffwave_jax.generation.inputs import check_scale
from diffwave_jax.generation.loaded_model import LoadedModel
from diffwave_jax.generation.progress import clip_bar
from diffwave_jax.generation.settings import check_count
from diffwave_jax.generation.stream_settings import StreamSettings
from diffwave_jax.jax_settings import standard_jax
from diffwave_jax.kernels import backends
from diffwave_jax.kernels.rounding import divide_up, round_up
from diffwave_jax.models import AutoregressiveSaShiMi, stepping, weights
from diffwave_jax.models.compiling import jit
from diffwave_jax.tokens import CODES, LEVELS

CHUNK = 1024  # samples at a time, about: streams of any length take one program, and are heard as they come
STREAMS = {"cpu": 64}  # at a time on a device, elsewhere OTHER_STREAMS
OTHER_STREAMS = 1024
CLIPS = 8  # at a time where whole clips are convolved


class Streams(NamedTuple):
    """Pieces of n streams.

    Attributes:
      tokens: (n, T) int32.
      log_probability: (n, T) float32, ln of the probability that the model gave each token.
    """

    tokens: Int32[np.ndarray, "streams samples"]
    log_probability: Float32[np.ndarray, "streams samples"]


class AutoregressiveGenerator(LoadedModel[StreamSettings]):
    """A network with its weights that predicts audio sample by sample; it makes and judges clips of any length.

    Args:
      config: the run's config.
      params: {dotted name: array}, the weights.

    Raises:
      UserError: the weights are not those of the config's network.
    """

    def __init__(self, config: ConfigDict, params: Mapping[str, np.ndarray | jax.Array]):
        super().__init__(config, params)
        self._lengthened: dict[int, tuple[nnx.GraphDef, weights.Weights]] = {}
        self.code = CODES[config.model.code]

    def __repr__(self) -> str:
        kind = f"{self.config.model.name}, {self.num_parameters:,} weights"
        return f"AutoregressiveGenerator({kind}, {self.config.model.code} at {self.sample_rate} Hz)"

    def generate(
        self,
        n: int,
        seed: int = 0,
        length: int | None = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        prime: Real[np.ndarray, "*clips primed"] | None = None,
        *,
        batch_size: int | None = None,
        on_step: OnStep | None = None,
        progress: bool = False,
    ) -> Float32[np.ndarray, "{n} samples"]:
        """Clips (n, length) float32 in [-1, 1]; clip i depends on the seed, i and the other arguments alone.

        Args:
          n: number of clips.
          seed: of their randomness.
          length: samples of a clip, the prime's among them; None for the length it was trained on.
          temperature: above 0; below 1 for more probable samples, 1 for the model's own distribution.
          top_p: in (0, 1]; each token is drawn from the fewest that are at least this probable together.
          prime: audio (P,) or (n, P) that the clips begin with, at the model's sample rate.
          batch_size: clips at a time; None for what suits the devices.
          on_step: called as `on_step(done, total)` in samples, now and then.
          progress: show a bar.

        Raises:
          UserError: a number out of its range, a prime that the model cannot take, or weights that give no numbers.
        """
        length = self.length if length is None else length
        settings = StreamSettings(length=length, seed=seed, temperature=temperature, top_p=top_p, prime=prime)
        indices = range(_checked_count(n, prime))
        with clip_bar(n, on_step) if progress else contextlib.nullcontext(on_step) as told:
            batches = self.clips(indices, settings, batch_size=batch_size, on_step=told)
            return np.concatenate([audio for _, audio in batches])

    def clips(
        self,
        indices: Sequence[int],
        settings: StreamSettings,
        *,
        batch_size: int | None = None,
        on_step: OnStep | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The clips of some indices, batch by batch, as soon as each is made.

        Args:
          indices: which clips, each at least 0.
          settings: how they are made; they have a length.
          batch_size, on_step: see `generate`.

        Yields:
          (b,) indices and their clips (b, length) float32.

        Raises:
          UserError: see `generate`.
        """
        self.check(settings)
        assert settings.length is not None
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        chosen = np.asarray(indices)
        given = self._given(settings, chosen)
        size = min(len(chosen), batch_size or self._most_streams())
        starts = range(0, len(chosen), size)
        for number, start in enumerate(starts):
            rows = np.arange(start, min(start + size, len(chosen)))
            if self._streams.compiled_by_size:  # copies of the last clip fill up the last batch
                rows = np.minimum(np.arange(start, start + size), len(chosen) - 1)
            pieces, done = [], number * settings.length
            for piece in self._pieces(chosen[rows], given[rows], settings):
                pieces.append(piece.tokens[: len(chosen) - start])
                done += piece.tokens.shape[1]
                if on_step is not None:
                    on_step(done, len(starts) * settings.length)
            yield chosen[start : start + size], self.code.decode(np.concatenate(pieces, axis=1))

    def check(self, settings: StreamSettings) -> None:
        """UserError if this model cannot make clips so."""
        settings.check()
        if settings.prime is not None:
            self._check_prime(np.asarray(settings.prime), settings.length)

    def stream(
        self,
        n: int,
        seed: int = 0,
        temperature: float = 1.0,
        top_p: float = 1.0,
        prime: Real[np.ndarray, "*clips primed"] | None = None,
        *,
        length: int | None = None,
    ) -> Iterator[Streams]:
        """The clips of `generate` piece by piece as tokens, for `self.code.decode`.

        All go on together, in as much memory after an hour as at the start.

        Args:
          n: number of clips.
          seed: of their randomness.
          temperature, top_p, prime: see `generate`.
          length: samples of a clip, the prime's among them; None for output without end.

        Yields:
          The next samples of all clips, as many as one program makes.

        Raises:
          UserError: a number out of its range, a prime that the model cannot take, or weights that give no numbers.
        """
        settings = StreamSettings(length=length, seed=seed, temperature=temperature, top_p=top_p, prime=prime)
        indices = np.arange(_checked_count(n, prime))
        self.check(settings)
        return self._pieces(indices, self._given(settings, indices), settings)

    def nll(self, audio: Real[np.ndarray, "clips samples"]) -> Float[np.ndarray, " clips"]:
        """Negative log-likelihood (n,) of audio (n, L) in bits a sample, each given those before it in its clip.

        Raises:
          UserError: audio of another shape, or with values that are not finite.
        """
        return -self.log_probability(self.encode(audio)).mean(axis=1) / math.log(2)

    def log_probability(self, tokens: Integer[np.ndarray, "clips samples"]) -> Float32[np.ndarray, "clips samples"]:
        """Natural logarithm (n, L) of the probability of each of tokens (n, L), given those before it in its clip.

        Raises:
          UserError: tokens that are not whole numbers from 0 to 255.
        """
        tokens = _checked_tokens(tokens)
        inputs = np.concatenate([np.full((len(tokens), 1), stepping.START), tokens[:, :-1]], axis=1)
        return self._on_whole_clips(_log_probabilities, inputs, tokens)

    def logits(self, tokens: Integer[np.ndarray, "clips samples"]) -> Float32[np.ndarray, "clips samples levels"]:
        """Unnormalised log-probabilities (n, L, 256) of what follows each of tokens (n, L).

        Raises:
          UserError: tokens that are not whole numbers from 0 to 255.
        """
        return self._on_whole_clips(_logits, _checked_tokens(tokens))

    def encode(self, audio: Real[np.ndarray, "clips samples"]) -> Integer[np.ndarray, "clips samples"]:
        """Audio (n, L) as tokens (n, L); see `diffwave_jax.tokens` for what the model's code does to its loudness."""
        audio = np.asarray(audio)
        if audio.ndim != 2 or not audio.size or not np.all(np.isfinite(audio)):
            raise UserError(f"audio has shape {audio.shape}; give finite samples (n, L), at least one")
        check_scale(audio)
        return self.code.encode(audio)

    def _check_prime(self, prime: np.ndarray, length: int | None) -> None:
        if prime.ndim not in (1, 2) or not prime.size:
            raise UserError(f"prime has shape {prime.shape}; give (samples,), or (n, samples) for n clips")
        if length is not None and prime.shape[-1] > length:
            raise UserError(f"the prime has {prime.shape[-1]} samples, more than the {length} of a clip: cut it")
        if not np.all(np.isfinite(prime)):
            raise UserError("the prime has samples that are not finite: give finite samples")
        if self.config.model.code != "mu_law" and np.any(np.ptp(prime, axis=-1) == 0):
            raise UserError(
                "the prime is silent, and this model hears recordings at their own range: give one with sound"
            )

    def _given(self, settings: StreamSettings, indices: np.ndarray) -> np.ndarray:
        """(n, P) the tokens that clips of these indices begin with, P = 0 without a prime."""
        if settings.prime is None:
            return np.zeros((len(indices), 0), np.int32)
        tokens = self.encode(np.atleast_2d(settings.prime))
        if len(tokens) == 1:
            return np.broadcast_to(tokens, (len(indices), tokens.shape[1]))
        return tokens[indices]

    def _pieces(self, indices: np.ndarray, given: np.ndarray, settings: StreamSettings) -> Iterator[Streams]:
        """All streams at once: pieces of those that do not fit a batch wait for each other."""
        length, sharpness, keys = settings.length, settings.sharpness, clip_keys(settings.seed, indices)
        n, period = len(keys), self._period
        size = min(round_up(n, self._streams.num_devices), self._most_streams())
        wanted = CHUNK if length is None else min(length, CHUNK)
        periods = divide_up(wanted, period)
        batches = [np.minimum(np.arange(start, start + size), n - 1) for start in range(0, n, size)]
        states = [self._streams.start(size) for _ in batches]
        for done in itertools.count(step=periods * period):
            if length is not None and done >= length:
                return
            known = _known(given, done, periods * period)
            pieces = []
            for number, rows in enumerate(batches):
                random = uniforms(keys[rows], jnp.uint32(done // period), periods=periods, period=period)
                states[number], steps = self._streams.run(states[number], known[:, rows], random, sharpness)
                pieces.append(steps)
            cut = None if length is None else length - done
            tokens, log_probability = (
                np.concatenate([np.asarray(piece).T for piece in column])[:n, :cut]
                for column in zip(*pieces, strict=True)
            )
            if not np.all(np.isfinite(log_probability)):
                raise UserError(
                    f"the model gives no numbers after {done} samples: its weights are damaged, or diverged"
                )
            yield Streams(tokens, log_probability)

    def _most_streams(self) -> int:
        return STREAMS.get(jax.default_backend(), OTHER_STREAMS) * self._streams.num_devices

    @property
    def _period(self) -> int:
        return math.prod(self.config.model.pool)

    @functools.cached_property
    def _streams(self) -> Stepper:
        """The loops that Numba compiles where the S4 kernels are Numba's, else a program of XLA's."""
        network = self._network()
        constants = stepping.constants(network)
        model = self.config.model
        if model.dtype == "float32" and backends.choose(model.s4_implementation) == "numba":
            from diffwave_jax.generation.compiled_loops import LoopAutoregression
            from diffwave_jax.models.packed import pack

            return LoopAutoregression(pack(network, constants))
        return Autoregression(Network(self._graph, self._params, constants), jax.local_devices())

    @standard_jax()
    def _on_whole_clips(self, function: Callable, *tokens: np.ndarray) -> np.ndarray:
        """(n, L, ...): the function of the network and tokens (n, L), by convolution, a batch at a time.

        Clips are filled up to whole periods, and the last batch to the others' size: that changes nothing before.
        """
        n, length = tokens[0].shape
        whole = round_up(length, self._period)
        network = self._network_for(whole)
        size = min(n, CLIPS)
        rows = []
        for start in range(0, n, size):
            more = (0, max(0, start + size - n)), (0, whole - length)
            batch = [np.pad(each[start : start + size], more).astype(np.int32) for each in tokens]
            rows.append(np.asarray(function(*network, *batch))[: n - start, :length])
        return np.concatenate(rows)

    def _network_for(self, length: int) -> tuple[nnx.GraphDef, weights.Weights]:
        """The network with kernels as long as clips of `length` samples need."""
        if length <= self.length:
            return self._graph, self._params
        if length not in self._lengthened:
            network = self._network()
            network.lengthen(length)
            self._lengthened[length] = weights.split(network)
        return self._lengthened[length]

    def _network(self) -> AutoregressiveSaShiMi:
        network = weights.merge(self._graph, self._params)
        assert isinstance(network, AutoregressiveSaShiMi)
        return network


def _checked_count(n: int, prime: np.ndarray | None) -> int:
    """`n` as a number of clips, as many as there are primes if each has its own."""
    if prime is not None and np.ndim(prime) == 2 and len(prime) not in (1, check_count(n)):
        raise UserError(f"prime has shape {np.shape(prime)}; give (samples,), or ({n}, samples) for {n} clips")
    return check_count(n)


def _checked_tokens(tokens: np.ndarray) -> np.ndarray:
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or not tokens.size or tokens.dtype.kind not in "iu":
        raise UserError(f"tokens have shape {tokens.shape} and type {tokens.dtype}; give integers (n, L)")
    if tokens.min() < 0 or tokens.max() >= LEVELS:
        raise UserError(f"tokens lie between {tokens.min()} and {tokens.max()}; they are 0 to {LEVELS - 1}")
    return tokens


def _known(given: np.ndarray, done: int, samples: int) -> np.ndarray:
    """(samples, n): the given tokens (n, P) from sample `done` on, and `DRAWN`."""
    known = np.full((samples, len(given)), DRAWN, np.int32)
    piece = given[:, done : done + samples]
    known[: piece.shape[1]] = piece.T
    return known


@functools.partial(jit, static_argnums=0)
def _logits(graph: nnx.GraphDef, params: dict, tokens: jax.Array) -> jax.Array:
    return weights.merge(graph, params)(tokens)


@functools.partial(jit, static_argnums=0)
def _log_probabilities(graph: nnx.GraphDef, params: dict, inputs: jax.Array, tokens: jax.Array) -> jax.Array:
    return log_probability(weights.merge(graph, params)(inputs), tokens)
