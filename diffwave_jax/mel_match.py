"""Pulls a vocoder's audio to the mel spectrogram that it was made of."""

import librosa
import numpy as np
from jaxtyping import Float, Float32

from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.mel import MelFrontEnd

BLOCK = 2048  # frames at a time
LARGEST = 10.0  # factor of a magnitude in one round: what is almost silent holds no shape to be made louder
TINY = 1e-12  # of a bin that no band hears


def match(
    front_end: MelFrontEnd,
    audio: Float[np.ndarray, "*clips samples"],
    mel: Float[np.ndarray, "*clips bands frames"],
    rounds: int,
) -> Float32[np.ndarray, "*clips samples"]:
    """Audio whose mel spectrogram is nearer to a wanted one, with the phases that it has.

    As in Griffin and Lim's method ("Signal estimation from modified short-time Fourier transform", 1984) a round puts
    the wanted magnitudes into the transform and goes back to a signal. A mel says only what each band amounts to, so
    the bins of a band keep their shares: each is multiplied by what its bands lack, averaged by their weights. Bins of
    no band stay as they are.

    Args:
      front_end: of the mel.
      audio: (..., frames * hop) about -1 to 1.
      mel: (..., bands, frames).
      rounds: how often; 0 gives the audio back, and so does audio that is not finite.

    Returns:
      (..., frames * hop) float32.
    """
    audio = np.asarray(audio, np.float32)
    if not rounds or not np.all(np.isfinite(audio)):
        return audio
    frames, hop = mel.shape[-1], front_end.hop
    spare = (rounds + 1) * divide_up(front_end.n_fft, hop)  # how far a frame is heard
    parts = []
    for start in range(0, frames, BLOCK):
        first, end = max(0, start - spare), min(frames, start + BLOCK)
        last = min(frames, end + spare)
        part = _matched(front_end, audio[..., first * hop : last * hop], mel[..., first:last], rounds)
        parts.append(part[..., (start - first) * hop : (end - first) * hop])
    return np.concatenate(parts, axis=-1)


def _matched(front_end: MelFrontEnd, audio: np.ndarray, mel: np.ndarray, rounds: int) -> np.ndarray:
    window = {"n_fft": front_end.n_fft, "hop_length": front_end.hop, "win_length": front_end.window, "center": False}
    half, samples = front_end.n_fft // 2, audio.shape[-1]
    wanted = front_end.magnitudes(mel)
    shares = (front_end.filters / np.maximum(front_end.filters.sum(axis=0), TINY)).T
    unheard = 1 - shares.sum(axis=1, keepdims=True)
    for _ in range(rounds):
        padded = np.pad(audio, [(0, 0)] * (audio.ndim - 1) + [(half, half)], mode="reflect")
        spectrum = librosa.stft(padded, **window)
        heard = front_end.magnitudes(front_end.of_magnitudes(np.abs(spectrum[..., :-1])))
        factors = shares @ np.minimum(wanted / heard, LARGEST) + unheard
        # As many samples as F frames last have F + 1 centres: the last one, of no frame, goes with the one before.
        spectrum *= np.concatenate([factors, factors[..., -1:]], axis=-1)
        audio = librosa.istft(spectrum, length=padded.shape[-1], **window)[..., half : half + samples]
    return audio.astype(np.float32)
