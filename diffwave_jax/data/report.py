"""What a preparation found: kept beside the prepared clips, exact where TFDS's own files are not."""

import dataclasses
import json
from pathlib import Path

from diffwave_jax.errors import printable

FILE = "clips.json"
MOST = 5  # names in one line
WORTH_TELLING = 0.001  # the share of clipped samples, of all clips together
CLIPPED_CLIP = 0.01  # and of one clip


@dataclasses.dataclass
class Report:
    """What a preparation found.

    Attributes:
      classes: names of the classes, in order.
      skipped: {clip: reason} of the files, in any split, left out because they cannot be read.
      remarks: {clip: what is worth telling about it} of clips that are in.
      notes: what is worth telling about the data as a whole.
      samples: of all clips, before any padding.
      clipped: how many of them lay outside [-1, 1].
      fingerprints: {split: digest of its clips' names, labels and samples}.
      sizes: {split: its number of clips}.
    """

    classes: list[str] = dataclasses.field(default_factory=list)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    remarks: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    samples: int = 0
    clipped: int = 0
    fingerprints: dict[str, str] = dataclasses.field(default_factory=dict)
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Report":
        """The report in a folder; raises OSError, ValueError or TypeError where it is damaged or not there."""
        return cls(**json.loads(Path(folder, FILE).read_text(encoding="ascii")))

    def write(self, folder: Path) -> None:
        """Writes it into a folder, in ASCII: names that are not UTF-8 survive."""
        Path(folder, FILE).write_text(json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True), encoding="ascii")

    @property
    def clipped_share(self) -> float:
        """How much of all samples lay outside [-1, 1] and was clipped."""
        return self.clipped / max(self.samples, 1)

    def lines(self) -> list[str]:
        """What every run should say, each in one line; nothing where all is well."""
        lines = [f"data.archive: {note}" for note in self.notes]
        count = len(self.skipped) + sum(self.sizes.values())
        if self.skipped:
            lines.append(_line(f"{len(self.skipped)} of {count} clips cannot be read and are left out", self.skipped))
        if self.remarks:
            lines.append(_line(f"{len(self.remarks)} of {count} clips are not as they should be", self.remarks))
        if self.clipped_share >= WORTH_TELLING:
            lines.append(f"data.archive: {self.clipped_share:.2%} of all samples lay beyond full scale and are clipped")
        return [printable(line) for line in lines]


def _line(what: str, clips: dict[str, str]) -> str:
    listed = "; ".join(f"{name} ({reason})" for name, reason in sorted(clips.items())[:MOST])
    more = f"; and {len(clips) - MOST} more" if len(clips) > MOST else ""
    return f"data.archive: {what}: {listed}{more}"
