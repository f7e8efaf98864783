"""One picture of many clips: waveforms above mel spectrograms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffwave_jax.files import complete
from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.results.folder import clip_name
from diffwave_jax.results.spectrogram import RANGE_DB, mel_decibels
from diffwave_jax.results.wav import WavClip

MOST = 64  # clips in one picture


def write_grid(path: Path, clips: Sequence[WavClip]) -> None:
    """Writes the first 64 clips as a PNG, as square a grid as they make."""
    clips = clips[:MOST]
    columns = int(np.ceil(np.sqrt(len(clips))))
    rows = divide_up(len(clips), columns)
    figure = Figure(figsize=(2.6 * columns, 2.3 * rows))
    FigureCanvasAgg(figure)
    # Margins by hand, in cells: the automatic layout takes as long as drawing does.
    margins = {"left": 0.03 / columns, "right": 1 - 0.03 / columns, "bottom": 0.03 / rows, "top": 1 - 0.12 / rows}
    cells = figure.add_gridspec(rows, columns, **margins, wspace=0.06, hspace=0.18)
    for index, clip in enumerate(clips):
        _draw(figure, cells[index], clip)
    with complete(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _draw(figure: Figure, cell, clip: WavClip) -> None:
    parts = cell.subgridspec(2, 1, height_ratios=(1, 2), hspace=0.04)
    seconds = len(clip.audio) / clip.sample_rate
    wave, mel = (figure.add_subplot(part) for part in parts)
    wave.set_title(Path(clip_name(clip.record)).stem.replace("_", " ") if clip.record else clip.path.stem, fontsize=8)
    wave.plot(np.linspace(0, seconds, len(clip.audio)), clip.audio, linewidth=0.4)
    wave.set(xlim=(0, seconds), ylim=(-1, 1), xticks=[], yticks=[])
    decibels = mel_decibels(clip.audio, clip.sample_rate)
    mel.imshow(decibels, origin="lower", aspect="auto", cmap="magma", vmin=-RANGE_DB, vmax=0)
    mel.set(xticks=[], yticks=[])
