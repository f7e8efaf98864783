"""How a clip sounds, apart from what it says: noise floor, harmonicity, bands, and log-mel images for distances.

Each function takes clips `audio` (B, L), of any loudness, and their `sample_rate` in Hz, and returns float64.
"""

import librosa
import numpy as np
from jaxtyping import Float, Float64

Clips = Float[np.ndarray, "clips samples"]
PerClip = Float64[np.ndarray, " clips"]

SILENCE_DB = -80.0
"""Level below which a frame counts as silent, in dB relative to the clip's loudest frame."""


def noise_floor(audio: Clips, sample_rate: int, quantile: float = 0.1) -> PerClip:
    """Level of the quietest frames of each clip, in dB relative to its loudest frame.

    Frames last 20 ms; the level reported is the given quantile over the frames, never below `SILENCE_DB`,
    where digital silence and inaudible noise are the same. A clip without a single non-zero sample gives 0.

    Args:
      audio: (B, L) float.
      sample_rate: in Hz.
      quantile: share of the frames that are quieter, 0 to 1.

    Returns:
      (B,) in dB, from `SILENCE_DB` to 0.
    """
    level = _relative_level(_frames(audio, round(0.02 * sample_rate), round(0.01 * sample_rate)))
    return np.quantile(level, quantile, axis=-1)


def harmonics_to_noise_ratio(
    audio: Clips, sample_rate: int, lowest_pitch: float = 75.0, highest_pitch: float = 400.0
) -> tuple[PerClip, PerClip]:
    """Harmonics-to-noise ratio of the voiced part of each clip, in dB, and the voiced fraction of its sound.

    Boersma (1993), "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise
    ratio of a sampled sound", eqs. 4 and 9: with r the highest peak of a frame's autocorrelation, divided by
    the window's, between the lags of the two pitches (Hz), the ratio is 10 log10(r / (1 - r)). A frame is
    sounding within 25 dB of the clip's loudest one, and voiced where besides r > 0.45, as in Praat.

    Args:
      audio: (B, L) float.
      sample_rate: in Hz.
      lowest_pitch, highest_pitch: between which the fundamental is looked for, in Hz.

    Returns:
      The mean ratio over voiced frames (B,), NaN where a clip has none, and the fraction of the sounding
      frames that are voiced (B,).
    """
    frames = _frames(audio, round(4.5 * sample_rate / lowest_pitch), round(0.01 * sample_rate))
    strength = _periodicity(frames, sample_rate / highest_pitch, sample_rate / lowest_pitch)
    sounding = _relative_level(frames) > -25.0
    voiced = sounding & (strength > 0.45)
    strength = np.clip(strength, 1e-3, 1 - 1e-4)
    ratio = np.where(voiced, 10 * np.log10(strength / (1 - strength)), 0.0)
    count = voiced.sum(axis=-1)
    mean = np.divide(ratio.sum(axis=-1), count, out=np.full(len(count), np.nan), where=count > 0)
    return mean, count / np.maximum(sounding.sum(axis=-1), 1)


def band(audio: Clips, sample_rate: int, lowest: float, highest: float) -> Float64[np.ndarray, "clips samples"]:
    """The clips' parts between two frequencies: others are set to zero, and nothing is delayed.

    Args:
      audio: (B, L) float.
      sample_rate: in Hz.
      lowest, highest: the two frequencies in Hz; the highest does not belong to the band.

    Returns:
      (B, L).
    """
    length = audio.shape[-1]
    spectrum = np.fft.rfft(np.asarray(audio, np.float64), 2 * length)  # zeros follow, so that no end meets the start
    frequency = np.fft.rfftfreq(2 * length, 1 / sample_rate)
    return np.fft.irfft(spectrum * ((frequency >= lowest) & (frequency < highest)), 2 * length)[..., :length]


def level_above(audio: Clips, sample_rate: int, frequency: float) -> PerClip:
    """Power from a frequency on, relative to that of the whole clip.

    Args:
      audio: (B, L) float.
      sample_rate: in Hz.
      frequency: in Hz.

    Returns:
      (B,) in dB, from `SILENCE_DB` to 0.
    """
    power = np.abs(np.fft.rfft(np.asarray(audio, np.float64))) ** 2
    high = np.fft.rfftfreq(audio.shape[-1], 1 / sample_rate) >= frequency
    share = power[..., high].sum(axis=-1) / np.maximum(power.sum(axis=-1), 1e-20)
    return 10 * np.log10(np.maximum(share, 10 ** (SILENCE_DB / 10)))


def tone_in_silence(audio: Clips, sample_rate: int, frequency: float) -> PerClip:
    """How far a tone stands above its surroundings in each clip's silence.

    Silence is what lies in frames of 64 ms that are 40 dB below the loudest. Their mean power in the three bins (16 Hz
    each) around the tone is set beside the median of the bins that are 4 to 20 away.

    Args:
      audio: (B, L) float.
      sample_rate: in Hz.
      frequency: of the tone, in Hz.

    Returns:
      (B,) in dB, about 0 for noise alone; NaN for a clip without silence, or with nothing in it.
    """
    frames = _frames(audio, round(0.064 * sample_rate), round(0.016 * sample_rate))
    silent = _relative_level(frames) < -40.0
    window = np.hanning(frames.shape[-1] + 1)[:-1]
    power = np.sum(silent[..., None] * np.abs(np.fft.rfft(frames * window)) ** 2, axis=-2)
    distance = np.abs(np.arange(power.shape[-1]) - round(frequency * frames.shape[-1] / sample_rate))
    tone = power[..., distance <= 1].mean(axis=-1)
    around = np.median(power[..., (distance >= 4) & (distance <= 20)], axis=-1)
    ratio = np.divide(tone, around, out=np.full(len(tone), np.nan), where=(around > 0) & (tone > 0))
    return 10 * np.log10(ratio)


def log_mel_image(
    audio: Clips, sample_rate: int, num_mels: int = 40, range_db: float = 60.0
) -> Float64[np.ndarray, "clips frames {num_mels}"]:
    """Log-mel spectrogram of each clip, relative to its maximum.

    Every clip is moved so that it starts with its first frame within 30 dB of the loudest, which makes the
    distance between two images independent of level and delay.

    Args:
      audio: (B, L) float.
      sample_rate: in Hz.
      num_mels: mel bands, from 60 Hz to half the sample rate, at most 7,600 Hz.
      range_db: what lies this far below the maximum or deeper is set there.

    Returns:
      (B, frames, num_mels) in dB, from -range_db to 0, a frame each 10 ms.
    """
    power = librosa.feature.melspectrogram(
        y=_start_with_sound(np.asarray(audio, np.float64), sample_rate),
        sr=sample_rate,
        n_fft=round(0.032 * sample_rate),
        hop_length=round(0.01 * sample_rate),
        n_mels=num_mels,
        fmin=60.0,
        fmax=min(sample_rate / 2, 7600.0),
    )
    power = np.maximum(power, 1e-12)
    level = 10 * np.log10(power / power.max(axis=(-2, -1), keepdims=True))
    return np.swapaxes(np.maximum(level, -range_db), -2, -1)


def _start_with_sound(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    hop = round(0.01 * sample_rate)
    sounding = _relative_level(_frames(audio, 2 * hop, hop)) > -30.0
    start = hop * np.argmax(sounding, axis=-1)
    index = np.arange(audio.shape[-1]) + start[:, None]
    inside = index < audio.shape[-1]
    return np.where(inside, np.take_along_axis(audio, np.where(inside, index, 0), axis=-1), 0.0)


def _frames(audio: np.ndarray, length: int, hop: int) -> np.ndarray:
    audio = np.asarray(audio, np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(audio, min(length, audio.shape[-1]), axis=-1)
    return windows[:, ::hop]


def _relative_level(frames: np.ndarray) -> np.ndarray:
    power = np.mean(frames**2, axis=-1)
    loudest = np.maximum(power.max(axis=-1, keepdims=True), 1e-20)
    return 10 * np.log10(np.maximum(power / loudest, 10 ** (SILENCE_DB / 10)))


def _periodicity(frames: np.ndarray, shortest_lag: float, longest_lag: float, oversampling: int = 4) -> np.ndarray:
    """Highest normalised autocorrelation (B, frames) between two lags, at a quarter of a sample."""
    window = np.hanning(frames.shape[-1] + 2)[1:-1]
    frames = (frames - frames.mean(axis=-1, keepdims=True)) * window
    lags = np.arange(int(shortest_lag * oversampling), int(longest_lag * oversampling) + 1)
    of_frames = _autocorrelation(frames, oversampling)
    of_window = _autocorrelation(window, oversampling)
    return np.max(of_frames[..., lags] / of_window[lags], axis=-1)


def _autocorrelation(signal: np.ndarray, oversampling: int) -> np.ndarray:
    size = 2 * signal.shape[-1]
    power = np.abs(np.fft.rfft(signal, size)) ** 2
    correlation = np.fft.irfft(power, size * oversampling)
    return correlation / np.maximum(correlation[..., :1], 1e-20)
