"""An evaluation as a table to read beside the published figures, and as plain data for a JSON file."""

import dataclasses
from collections.abc import Mapping, Sequence

from diffwave_jax.errors import printable
from diffwave_jax.evaluation.scores import Score
from diffwave_jax.generation.model_card import METRICS

PUBLISHED = {
    "training set": {"fid": 0.00, "is": 8.56, "mis": 292.5, "am": 0.16},
    "test set": {"fid": 0.02, "is": 8.33, "mis": 257.6, "am": 0.19},
    "DiffWave": {"fid": 1.92, "is": 5.26, "mis": 51.21, "am": 0.68},
    "SaShiMi + DiffWave": {"fid": 1.42, "is": 5.94, "mis": 69.17, "am": 0.59},
}
PUBLISHED_SOURCE = "SC09 at 16 kHz, heard by the authors' ResNeXt: Goel et al. 2022, arXiv 2202.09729, Table 5"
NAME_WIDTH = 20
CELL_WIDTH = 15


@dataclasses.dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation found.

    Attributes:
      description: of the clips, the reference, the classifier and the protocol, by name.
      rows: {set of clips: {metric: score}}; the sets are the real clips, then the evaluated ones.
      warnings: what the reader of the scores must know, in lines.
      published: whether the papers' figures, which are of SC09, may stand beside these scores.
    """

    description: Mapping[str, str | int | float]
    rows: Mapping[str, Mapping[str, Score]]
    warnings: Sequence[str] = ()
    published: bool = False

    def to_dict(self) -> dict:
        """Plain data: the description, the warnings, every score and, where they belong, the published figures."""
        scores = {
            name: {metric: dataclasses.asdict(score) for metric, score in row.items()}
            for name, row in self.rows.items()
        }
        published = {"published": {"source": PUBLISHED_SOURCE, **PUBLISHED}} if self.published else {}
        return {**self.description, "warnings": list(self.warnings), "scores": scores, **published}

    def table(self) -> str:
        """Lines of text, one a set of clips, with half the width of 95 % intervals; then the published figures."""
        lines = [f"{name}: {value}" for name, value in self.description.items()]
        lines += [f"warning: {printable(warning)}" for warning in self.warnings]
        lines += ["", _line("", METRICS.values())]
        lines += [_line(name, [_cell(row.get(metric)) for metric in METRICS]) for name, row in self.rows.items()]
        if self.published:
            lines += ["", f"published ({PUBLISHED_SOURCE})"]
            for name, row in PUBLISHED.items():
                lines.append(_line(name, [_number(row[metric]) if metric in row else "" for metric in METRICS]))
        return "\n".join(line.rstrip() for line in lines)


def in_one_line(row: Mapping[str, Score]) -> str:
    """A row's scores, each with its name."""
    return ", ".join(f"{METRICS[metric]} {_cell(row[metric])}" for metric in METRICS if metric in row)


def _line(name, cells) -> str:
    return name.ljust(NAME_WIDTH) + "".join(cell.rjust(CELL_WIDTH) for cell in cells)


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    half = f" ± {_number(score.interval[1] - score.value)}" if score.interval else ""
    return _number(score.value) + half


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"
