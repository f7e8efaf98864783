"""Draws the loss of a training from its log: python tools/training_curve.py LOG PICTURE.png."""

import re
import sys
from pathlib import Path

from matplotlib.figure import Figure

QUARTILES = {
    f"loss_quartile{i}": f"{name} quarter"
    for i, name in enumerate(("lowest-noise", "second", "third", "noisiest"), start=1)
}


def main(log: str, picture: str) -> None:
    """Training losses as lines, validation losses as dots of the same colour, by training step."""
    rows = [row for row in map(read, Path(log).read_text().splitlines()) if row]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, label in QUARTILES.items():
        steps, losses = zip(*[(row["step"], row[name]) for row in rows if name in row], strict=True)
        (line,) = axes.plot(steps, losses, linewidth=0.8, label=label)
        held_out = [(row["step"], row[f"validation_{name}"]) for row in rows if f"validation_{name}" in row]
        axes.plot(*zip(*held_out, strict=True), "o", color=line.get_color(), markersize=4)
    axes.set(xlabel="training step", ylabel="mean squared error of the noise", yscale="log")
    figure.legend(
        title="quarters of the diffusion steps; lines: training, dots: validation",
        loc="outside lower center",
        ncols=4,
        fontsize=8,
    )
    figure.savefig(picture, dpi=110)


def read(line: str) -> dict[str, float]:
    """The numbers of a log's line that begins with `step N`; of another, none."""
    if not re.match(r"step \d", line):
        return {}
    words = line.split()
    return {name: float(value) for name, value in zip(words[::2], words[1::2], strict=True)}


if __name__ == "__main__":
    main(*sys.argv[1:])
