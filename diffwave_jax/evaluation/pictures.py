"""A picture of an evaluation: what the clips look like, what they are heard as, and where they lie among real ones."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from diffwave_jax.evaluation.clips import Clips
from diffwave_jax.evaluation.recognition import Recogniser, Recognition
from diffwave_jax.evaluation.reference import Reference
from diffwave_jax.files import complete
from diffwave_jax.results.spectrogram import RANGE_DB, mel_decibels

NUM_COLUMNS = 12


def save_picture(
    path: Path, clips: Clips, heard: Recognition, reference: Reference, recogniser: Recogniser, *, title: str
) -> None:
    """Writes a PNG of three parts under a title.

    Left: mel spectrograms, one row a class as heard, from the surest on the left to the least sure on the right.
    Top right: how often each class that was asked for is heard as each; without labels, how often each is heard.
    Bottom right: features of the clips among those of real test clips, on the latter's two principal axes, each class
    by its name.
    """
    chosen = [columns_by_confidence(heard.probabilities, label) for label in range(len(recogniser.classes))]
    columns = max(len(row) for row in chosen)
    width = 6.5 + 0.85 * columns  # inches: few clips leave no blank half
    figure = Figure(figsize=(width, 9), layout="constrained")
    figure.suptitle("\n".join(textwrap.fill(line, round(11 * width)) for line in title.splitlines()), fontsize=11)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(0.8 + 0.85 * columns, 5.7))[0]
    _draw_mels(left, clips, heard, recogniser, chosen)
    top, bottom = right.subplots(2, 1)
    _draw_confusion(top, heard, clips.labels, recogniser.classes)
    _draw_projection(bottom, heard, reference, recogniser.classes)
    with complete(path) as partial:
        figure.savefig(partial, format="png", dpi=110)


def columns_by_confidence(probabilities: np.ndarray, label: int, num_columns: int = NUM_COLUMNS) -> np.ndarray:
    """Indices of clips heard as `label`, evenly spaced from the most to the least probable, at most `num_columns`."""
    mine = np.flatnonzero(probabilities.argmax(axis=1) == label)
    ordered = mine[np.argsort(-probabilities[mine, label], kind="stable")]
    if len(ordered) <= num_columns:
        return ordered
    return ordered[np.linspace(0, len(ordered) - 1, num_columns).round().astype(int)]


def _draw_mels(figure, clips: Clips, heard: Recognition, recogniser: Recogniser, chosen: list[np.ndarray]) -> None:
    """One row a class, with a column for each clip chosen of it."""
    figure.suptitle("as heard,\nsurest first", fontsize=10)
    rows = figure.subplots(len(chosen), max(len(row) for row in chosen), squeeze=False)
    probabilities = heard.probabilities
    for label, name in enumerate(recogniser.classes):
        rows[label, 0].set_ylabel(name, rotation=0, ha="right", va="center")
        for axes, index in zip(rows[label], chosen[label], strict=False):
            levels = mel_decibels(clips.audio[index], recogniser.sample_rate)
            axes.imshow(levels, origin="lower", aspect="auto", cmap="magma", vmin=-RANGE_DB, vmax=0)
            axes.set_title(f"{probabilities[index, label]:.2f}", fontsize=7, pad=1)
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)


def _draw_confusion(axes: Axes, heard: Recognition, labels: np.ndarray | None, classes: tuple[str, ...]) -> None:
    said = heard.logits.argmax(axis=1)
    ticks = range(len(classes))
    if labels is None:
        axes.bar(ticks, np.bincount(said, minlength=len(classes)))
        axes.set_xticks(ticks, classes, rotation=45)
        axes.set_title("clips heard as each class")
        return
    counts = np.zeros((len(classes), len(classes)))
    np.add.at(counts, (labels, said), 1)
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if counts[row, column] > counts[row].sum() / 2 else "black"
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(ticks, classes, rotation=45)
    axes.set_yticks(ticks, classes)
    axes.set(title="asked for (rows), heard as (columns)")


def _draw_projection(axes: Axes, heard: Recognition, reference: Reference, classes: tuple[str, ...]) -> None:
    real = reference.test.recognition
    axis = PCA(2, svd_solver="full").fit(real.features)
    colours = np.linspace(0, 1, len(classes))
    for recognition, name, style in (
        (real, "real test clips", {"marker": "o", "alpha": 0.25, "s": 30}),
        (heard, "these clips", {"marker": "x", "alpha": 0.9, "s": 36, "linewidths": 1.3}),
    ):
        points, said = axis.transform(recognition.features), recognition.logits.argmax(axis=1)
        axes.scatter(*points.T, c=colours[said], cmap="tab10", vmin=0, vmax=1, label=name, **style)
    points, said = axis.transform(real.features), real.logits.argmax(axis=1)
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
    for label in np.unique(said):
        x, y = np.median(points[said == label], axis=0)
        axes.text(x, y, classes[label], ha="center", va="center", fontsize=8, bbox=box)
    axes.legend(loc="best", fontsize=8)
    axes.set(title="features; names and colours: class as heard", xticks=[], yticks=[])
