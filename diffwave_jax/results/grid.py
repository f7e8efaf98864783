"""One picture of many clips: waveforms above mel spectrograms."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from diffwave_jax.files import complete
from diffwave_jax.kernels.rounding import divide_up
from diffwave_jax.results.folder import clip_name
from diffwave_jax.results.spectrogram import RANGE_DB, mel_decibels, mel_rows
from diffwave_jax.results.wav import WavClip

MOST = 64  # clips in one picture


def write_grid(path: Path, clips: Sequence[WavClip]) -> None:
    """Writes the first 64 clips as a PNG, as square a grid as they make; seconds below, kilohertz at the left."""
    figure = grid(clips[:MOST])
    with complete(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def grid(clips: Sequence[WavClip]) -> Figure:
    """The picture of some clips, at least one."""
    columns = int(np.ceil(np.sqrt(len(clips))))
    rows = divide_up(len(clips), columns)
    figure = Figure(figsize=(2.6 * columns, 2.3 * rows))
    FigureCanvasAgg(figure)
    # Margins by hand, in cells: the automatic layout takes as long as drawing does.
    margins = {"left": 0.14 / columns, "right": 1 - 0.04 / columns, "bottom": 0.14 / rows, "top": 1 - 0.12 / rows}
    cells = figure.add_gridspec(rows, columns, **margins, wspace=0.06, hspace=0.18)
    for index, clip in enumerate(clips):
        axes = _draw(figure, cells[index], clip)
        if index % columns == 0:
            _mark_kilohertz(axes, clip.sample_rate)
        if index + columns >= len(clips):
            _mark_seconds(axes, clip)
    return figure


def _mark_kilohertz(axes: Axes, sample_rate: int) -> None:
    marks = [hertz for hertz in (500, 1000, 2000, 4000, 8000) if hertz <= sample_rate / 2]
    axes.set_yticks(mel_rows(np.array(marks), sample_rate), [f"{hertz / 1000:g}" for hertz in marks], fontsize=6)
    axes.set_ylabel("kHz", fontsize=6, labelpad=1)


def _mark_seconds(axes: Axes, clip: WavClip) -> None:
    seconds = len(clip.audio) / clip.sample_rate
    marks = np.linspace(0, seconds, 3)
    frames = axes.get_images()[0].get_size()[1]
    axes.set_xticks(marks / seconds * frames - 0.5, [f"{mark:.2g} s" for mark in marks], fontsize=6)
    for label, place in zip(axes.get_xticklabels(), ("left", "center", "right"), strict=True):
        label.set_horizontalalignment(place)


def _title(clip: WavClip) -> str:
    if not clip.record:
        return clip.path.stem
    name = Path(clip_name(clip.record)).stem.replace("_", " ")
    return f"{name}, {clip.record['speaker']}" if "speaker" in clip.record else name


def _draw(figure: Figure, cell, clip: WavClip) -> Axes:
    """Draws one clip; returns the axes of its spectrogram."""
    parts = cell.subgridspec(2, 1, height_ratios=(1, 2), hspace=0.04)
    seconds = len(clip.audio) / clip.sample_rate
    wave, mel = (figure.add_subplot(part) for part in parts)
    wave.set_title(_title(clip), fontsize=8)
    wave.plot(np.linspace(0, seconds, len(clip.audio)), clip.audio, linewidth=0.4)
    wave.set(xlim=(0, seconds), ylim=(-1, 1), xticks=[], yticks=[])
    decibels = mel_decibels(clip.audio, clip.sample_rate)
    mel.imshow(decibels, origin="lower", aspect="auto", cmap="magma", vmin=-RANGE_DB, vmax=0)
    mel.set(xticks=[], yticks=[])
    mel.tick_params(length=2, pad=1)
    return mel
