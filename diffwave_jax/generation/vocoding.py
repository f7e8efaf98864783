"""Mel spectrograms to audio: the chain's conditions, and the few lengths that are compiled."""

import dataclasses

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.generation.batches import Job
from diffwave_jax.generation.chain import BEFORE, START, clip_keys, start_noise
from diffwave_jax.generation.tiles import Tiling
from diffwave_jax.mel import MelFrontEnd
from diffwave_jax.mel_match import match
from diffwave_jax.models import DiffWaveConfig, model_config
from diffwave_jax.models.conditioner import Condition

START_RMS = 0.1  # of the noise that is pulled to a mel before the chain
SHORTEST = 16  # frames of the shortest clip that is compiled for


def front_end(config: ConfigDict) -> MelFrontEnd:
    """A vocoder's mel front end.

    Raises:
      UserError: the model is no vocoder, or its config has no front end that fits it.
    """
    if not getattr(config.model, "n_mels", 0):
        raise UserError("this model is no vocoder: it takes no mel spectrograms; use generate")
    mel = MelFrontEnd.from_config(config)
    hop = int(np.prod(config.model.upsample))
    if mel.hop != hop:
        raise UserError(f"mel.hop is {mel.hop}, but model.upsample makes {hop} samples of each frame")
    return mel


def bucket(frames: int) -> int:
    """The number of frames that is compiled for: the next of 16, 24, 32, 48, 64, ..., at most a half more."""
    size = SHORTEST
    while size < frames:
        size += size // 2 if size & (size - 1) == 0 else size // 3
    return size


def padded(mel: Float32[np.ndarray, "clips bands frames"]) -> Condition:
    """Mels in the frames of their bucket, frames before bands, as networks take them."""
    n, bands, frames = mel.shape
    room = np.zeros((n, bucket(frames), bands), np.float32)
    room[:, :frames] = np.swapaxes(mel, 1, 2)
    return Condition(room, np.full(n, frames, np.int32))  # pyright: ignore[reportArgumentType] - not yet on a device


def matching(job: Job, front_end: MelFrontEnd, mels: np.ndarray, rounds: int, scale: float) -> Job:
    """A job whose clips are pulled to their mels before the chain and after each of its steps.

    The chain begins with noise that was pulled to the mel, as loud as the signal is at its first level (GLA-Grad, Liu
    et al., arXiv 2402.15516, does so after the steps). The mel bounds the audio: a sampler's own limit is lifted.

    Args:
      job: with the mels in its condition; it stays as it is.
      front_end: of the mels.
      mels: (n, bands, frames).
      rounds: see `diffwave_jax.mel_match.match`.
      scale: the network's audio over the listener's.
    """

    def correct(audio: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        length = mels.shape[2] * front_end.hop
        pulled = match(front_end, audio[:, :length] / scale, mels[chosen], rounds) * scale
        return np.concatenate([pulled, audio[:, length:]], axis=1)

    keys = clip_keys(job.seed, job.indices)
    before, noise = (np.asarray(start_noise(keys, job.length, purpose)) for purpose in (BEFORE, START))
    first = correct(START_RMS * scale * before, np.arange(len(mels)))
    start = job.table.signal[0] * first + job.table.noise_level[0] * noise
    unlimited = job.table._replace(limit=np.full_like(job.table.limit, np.inf))
    return dataclasses.replace(job, table=unlimited, start=start.astype(np.float32), correct=correct)


def tiling(config: ConfigDict) -> Tiling | None:
    """How long clips are cut for a vocoder; None for a network that hears all of a clip."""
    model = model_config(config.model)
    if not (isinstance(model, DiffWaveConfig) and model.n_mels):
        return None
    return Tiling.for_reach(model.reach, model.hop)
