"""Mel spectrograms to audio: the chain's conditions, and the few lengths that are compiled."""

import numpy as np
from jaxtyping import Float32
from ml_collections import ConfigDict

from diffwave_jax.errors import UserError
from diffwave_jax.generation.tiles import Tiling
from diffwave_jax.mel import MelFrontEnd
from diffwave_jax.models import DiffWaveConfig, model_config
from diffwave_jax.models.conditioner import Condition

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


def tiling(config: ConfigDict) -> Tiling | None:
    """How long clips are cut for a vocoder; None for a network that hears all of a clip."""
    model = model_config(config.model)
    if not (isinstance(model, DiffWaveConfig) and model.n_mels):
        return None
    return Tiling.for_reach(model.reach, model.hop)
