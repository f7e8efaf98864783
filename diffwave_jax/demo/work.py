"""What the page's buttons do, without the page: clips, their pictures, and the commands that make the same ones."""

import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image

from diffwave_jax.errors import UserError
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.generation.batches import OnStep
from diffwave_jax.generation.generator import Generator
from diffwave_jax.generation.settings import Settings
from diffwave_jax.results import wav
from diffwave_jax.results.grid import grid

POSITIONS = 9  # on the way from one clip to another
# The page may be light or dark: a picture has no ground of its own, and what is written on it can be read on both.
WRITTEN = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
ON_ANY_GROUND: dict[Any, str] = dict.fromkeys(WRITTEN, "gray")


class Made(NamedTuple):
    """A clip as the page shows it.

    Attributes:
      sound: samples per second, and (L,) int16.
      picture: waveform and spectrogram.
      command: the command line that makes the same clip.
    """

    sound: tuple[int, np.ndarray]
    picture: Image.Image
    command: str


def shown(audio: np.ndarray, sample_rate: int, command: str) -> Made:
    """A clip (L,) for the page."""
    samples, _ = wav.to_pcm(audio)
    file = io.BytesIO()
    with matplotlib.rc_context(ON_ANY_GROUND):
        grid([wav.WavClip(Path(), audio, sample_rate, {})]).savefig(file, format="png", dpi=200, transparent=True)
    return Made((sample_rate, samples), Image.open(file), command)


def generate(model: Generator, source: Sequence[str], on_step: OnStep, **asked: Any) -> Made:
    """A clip from noise; `asked` are the arguments of `Settings.for_model`, with None for the model's usual ones."""
    settings = Settings.for_model(model.config, **asked)
    ((_, audio),) = model.clips([0], settings, on_step=on_step)
    return shown(audio[0], model.sample_rate, command(source, n=1, **asked))


def between(model: Generator, seed_a: int, seed_b: int, on_step: OnStep, **asked: Any) -> np.ndarray:
    """Clips (9, L) on the way from one seed's clip to another's, which ask for the same."""
    settings = Settings.for_model(model.config, **asked).of_clip(0, model.config.model.n_speakers)
    return model.interpolate(seed_a, seed_b, POSITIONS, settings=settings, on_step=on_step)


def denoise(model: Generator, source: Sequence[str], path: str | None, step: int, on_step: OnStep) -> Made:
    """A recording without its noise."""
    if not path:
        raise UserError("no recording yet: upload one, or record it")
    recording = wav.read_recording(Path(path), model.sample_rate, model.length)
    (audio,) = model.denoise(recording[None], step, on_step=on_step)
    return shown(audio, model.sample_rate, command(source, denoise=Path(path).name, step=step))


def vocode(model: Generator, source: Sequence[str], path: str | None, on_step: OnStep, **asked: Any) -> Made:
    """A recording through its mel spectrogram, for a vocoder; `asked` are sampler, steps and seed."""
    if not path:
        raise UserError("no recording yet: upload one, or record it")
    recording = wav.read_whole_recording(Path(path), model.sample_rate)
    (audio,) = model.vocode(model.mel(recording, model.sample_rate), on_step=on_step, **asked)
    return shown(audio, model.sample_rate, command(source, vocode=Path(path).name, **asked))


def predict(
    model: AutoregressiveGenerator, source: Sequence[str], seconds: float, prime: str | None, on_step: OnStep, **asked
) -> Made:
    """A clip of an autoregressive model; `asked` are seed, temperature and top_p."""
    length = round(seconds * model.sample_rate)
    start = wav.read_prime(Path(prime), model.sample_rate, length) if prime else None
    (audio,) = model.generate(1, length=length, prime=start, on_step=on_step, **asked)
    line = command(source, n=1, seconds=seconds, prime=Path(prime).name if prime else None, **asked)
    return shown(audio, model.sample_rate, line)


def command(source: Sequence[str], **asked: Any) -> str:
    """The command line for a model (its own words, such as `--checkpoint RUN`) and settings; None leaves one out."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in asked.items() if value is not None]
    return shlex.join(["diffwave-sample", *source, *words])
