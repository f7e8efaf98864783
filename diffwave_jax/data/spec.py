"""What to prepare: the part of a config's `data` section that decides what the prepared clips are."""

import dataclasses
from pathlib import Path

from diffwave_jax.cache import cache_folder
from diffwave_jax.digits import DIGITS
from diffwave_jax.errors import UserError

SOURCES = ("speech_commands", "folder")


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """The clips wanted: where they come from and how each is cut.

    Attributes:
      archive: a folder or a tar archive; `None` for a download of Speech Commands v0.02.
      source: `"speech_commands"` (the official layout and lists) or `"folder"` (any audio files).
      sample_rate: in Hz.
      length: samples per clip; longer clips are cut, shorter ones zero-padded, both at the end.
      trim_db: leading and trailing sound this many dB under the clip's peak is cut away; 0 keeps all.
      rms: root mean square every clip is scaled to, as far as its peak allows; 0 keeps the level.
      fade: samples over which every clip fades in and out, so that no trimmed or padded end is a click; 0 for not at
        all.
      classes: the words to keep, in the order of their labels (`speech_commands` only).
      data_dir: folder of the prepared clips; `None` for the user's cache folder.
    """

    archive: str | None = None
    source: str = "speech_commands"
    sample_rate: int = 16000
    length: int = 16000
    trim_db: float = 0.0
    rms: float = 0.0
    fade: int = 0
    classes: tuple[str, ...] = DIGITS
    data_dir: str | None = None

    def __post_init__(self):
        _check(self.source in SOURCES, "source", self.source, f"one of {', '.join(SOURCES)}")
        _check(self.sample_rate > 0, "sample_rate", self.sample_rate, "a positive number of Hz")
        _check(self.length > 0, "length", self.length, "a positive number of samples")
        _check(self.trim_db >= 0, "trim_db", self.trim_db, "0 (off) or a positive number of dB")
        _check(0 <= self.rms < 1, "rms", self.rms, "0 (off) or a level below 1")
        _check(self.fade >= 0, "fade", self.fade, "0 (off) or a number of samples")
        _check(len(set(self.classes)) == len(self.classes) > 0, "classes", self.classes, "distinct words")
        _check(bool(self.archive) or self.source != "folder", "archive", self.archive, "a folder of audio")

    @classmethod
    def from_config(cls, config) -> "DataSpec":
        """Reads the fields above from a config's `data` section; absent ones keep their default."""
        known = {field.name: config[field.name] for field in dataclasses.fields(cls) if field.name in config}
        known["archive"] = known.get("archive") or None
        known["classes"] = tuple(known.get("classes") or DIGITS)
        return cls(**known)

    @property
    def cache(self) -> Path:
        """The folder of all preparations."""
        return Path(self.data_dir).expanduser() if self.data_dir else cache_folder()

    @property
    def path(self) -> Path | None:
        """The archive's path, `None` for a download. Raises `UserError` where nothing is there."""
        if self.archive is None:
            return None
        path = Path(self.archive).expanduser().resolve()
        if not path.exists():
            raise UserError(
                f"data.archive: nothing found at {path}; give a folder or a .tar.gz, or leave the field "
                "empty to download Speech Commands v0.02"
            )
        return path


def _check(condition, field, value, wanted):
    if not condition:
        raise UserError(f"data.{field} is {value!r}; it must be {wanted}")
