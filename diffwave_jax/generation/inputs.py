"""What a network is given, checked before it reaches the compiled program, whose own errors name no argument."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float32, Int32, Real, Shaped

from diffwave_jax.errors import UserError

ArrayLike = jax.Array | np.ndarray


def audio_like(x: Shaped[ArrayLike, "batch samples"], length: int) -> Float32[Array, "batch {length}"]:
    """Audio (B, length) as float32, B at least 1; UserError for another shape or for what is no numbers."""
    x = _array(x, "audio").astype(jnp.float32)
    if x.ndim != 2 or x.shape[1] != length or not len(x):
        raise UserError(f"this model works on arrays (n, {length}) with n at least 1; got {x.shape}")
    return x


def finite_audio(x: Shaped[ArrayLike, "batch samples"], length: int) -> Float32[np.ndarray, "batch {length}"]:
    """Audio (n, length) as float32 in NumPy; UserError as `audio_like`, and for samples that are not finite."""
    x = np.asarray(audio_like(x, length))
    if not np.all(np.isfinite(x)):
        raise UserError(
            f"{np.sum(~np.isfinite(x))} samples are not finite numbers: give audio without NaN and infinity"
        )
    return x


def check_scale(audio: np.ndarray) -> None:
    """UserError for whole numbers such as a WAV file's, where samples from -1 to 1 are expected."""
    if np.issubdtype(audio.dtype, np.integer) and audio.size and np.abs(audio.astype(float)).max() > 1:
        raise UserError(f"audio has integers of {audio.dtype}: divide them by their full scale, to [-1, 1]")


def voiced_audio(
    x: Shaped[ArrayLike, "batch samples"], mel: Float32[Array, "batch bands frames"], period: int, hop: int
) -> Float32[Array, "batch samples"]:
    """Audio (B, L) for mels (B, bands, frames), L a multiple of `period` and at most frames * `hop`; UserError else."""
    x = _array(x, "audio").astype(jnp.float32)
    longest = mel.shape[2] * hop
    if x.ndim != 2 or len(x) != len(mel) or not 0 < x.shape[1] <= longest or x.shape[1] % period:
        multiple = f", a multiple of {period}" if period > 1 else ""
        raise UserError(
            f"mels {mel.shape} go with audio ({len(mel)}, L), L from 1 to {longest}{multiple}; got {x.shape}"
        )
    return x


def mel_like(
    mel: Shaped[ArrayLike, "batch bands frames"] | None, n_mels: int
) -> Float32[Array, "batch {n_mels} frames"] | None:
    """Mels (B, n_mels, frames) as float32; None for a network without; UserError for anything else."""
    if not n_mels:
        if mel is not None:
            raise UserError("this model is no vocoder: it takes no mel spectrograms; leave them out")
        return None
    if mel is None:
        raise UserError(f"this model is a vocoder: give it mel spectrograms (B, {n_mels}, frames)")
    mel = _array(mel, "mel spectrograms").astype(jnp.float32)
    if mel.ndim != 3 or mel.shape[1] != n_mels or not mel.size:
        raise UserError(f"this vocoder takes mel spectrograms (B, {n_mels}, frames); got {mel.shape}")
    return mel


def resampled(
    audio: Shaped[ArrayLike, "*clips samples"], rate: int, sample_rate: int
) -> Float32[np.ndarray, "*clips resampled"]:
    """Audio (..., n) of a rate (Hz) as float32 at `sample_rate`; UserError for what is no audio or no rate."""
    from diffwave_jax.recording import RATES  # brings libsndfile, which a model that is given no recording does without

    array = np.asarray(audio)
    if array.ndim not in (1, 2) or not array.size or not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"audio is real numbers (n,) or (B, n), -1 to 1; got {array.dtype} {array.shape}")
    if not np.all(np.isfinite(array)):
        raise UserError(f"{np.sum(~np.isfinite(array))} samples are not finite numbers: give audio without them")
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not RATES[0] <= rate <= RATES[1]:
        raise UserError(f"the sample rate is {rate!r}; give whole Hz between {RATES[0]:,} and {RATES[1]:,}")
    return librosa.resample(array.astype(np.float32), orig_sr=rate, target_sr=sample_rate)


def steps_like(t: Shaped[ArrayLike, " {batch}"], batch: int, num_steps: int) -> Real[Array, " {batch}"]:
    """Diffusion steps (batch,), int32 or float32; UserError for another shape or a step outside 0 to T - 1."""
    t = _array(t, "diffusion steps")
    if t.shape != (batch,):
        raise UserError(f"a batch of {batch} needs {batch} diffusion steps t, shape ({batch},); got {t.shape}")
    _check_range(t, num_steps, "the diffusion steps")
    return t


def labels_like(
    label: Shaped[ArrayLike, " {batch}"] | None, batch: int, n_labels: int
) -> Int32[Array, " {batch}"] | None:
    """Labels (batch,) as int32, None for None; UserError for another shape or a label that the network does not know.

    Args:
      label: 0 to `n_labels`, which means "none".
      batch: how many there must be.
      n_labels: 0 for an unconditional network, which takes no labels.
    """
    if label is None:
        return None
    if not n_labels:
        raise UserError("this model is unconditional: it takes no labels; leave them out")
    label = _array(label, "labels")
    if label.shape != (batch,) or not jnp.issubdtype(label.dtype, jnp.integer):
        raise UserError(f"a batch of {batch} needs {batch} whole numbers as labels; got {label.dtype} {label.shape}")
    _check_range(label, n_labels + 1, "the labels")
    return label


def _array(values, what: str) -> jax.Array:
    """Real numbers as an array of int32 or float32."""
    try:
        array = jnp.asarray(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"the {what} must be an array of numbers; got {type(values).__name__}") from error
    if jnp.issubdtype(array.dtype, jnp.integer):
        return array.astype(jnp.int32)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(f"the {what} must be real numbers; got {array.dtype}")
    return array.astype(jnp.float32)


def _check_range(values: jax.Array, count: int, what: str) -> None:
    """UserError for values outside 0 to count - 1; while JAX traces, nobody knows them."""
    if isinstance(values, Tracer):
        return
    known = np.asarray(values)  # NumPy's comparisons: JAX's would be traced where the caller is
    if not np.all((known >= 0) & (known <= count - 1)):
        raise UserError(f"{what} must lie between 0 and {count - 1}; got {known}")
