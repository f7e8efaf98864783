"""What to prepare: the part of a config's `data` section that decides what the prepared clips are."""

import dataclasses
import math
import numbers
from pathlib import Path

from diffwave_jax.cache import cache_folder
from diffwave_jax.digits import DIGITS
from diffwave_jax.errors import UserError
from diffwave_jax.recording import RATES

SOURCES = ("speech_commands", "folder", "ljspeech")
MAX_LENGTH = 2**26  # samples, 23 minutes at 48 kHz; as much as is read of a file


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """The clips wanted: where they come from and how each is cut.

    Attributes:
      archive: a folder, or a tar or zip archive; `None` for a download of Speech Commands v0.02 or LJ Speech.
      source: `"speech_commands"` (the official layout and lists), `"folder"` (any audio files) or `"ljspeech"`.
      sample_rate: in Hz, 1,000 to 1,000,000.
      length: samples per clip, at most 2^26; longer clips are cut, shorter ones zero-padded, both at the end.
      whole: keep recordings whole, whatever their length; `length` is then what training cuts from them.
      trim_db: leading and trailing sound this many dB under the clip's peak is cut away; 0 keeps all.
      rms: root mean square every clip is scaled to, as far as its peak allows; 0 keeps the level.
      fade: samples over which every clip fades in and out, so that no trimmed or padded end is a click; 0 for not at
        all.
      windows: every file is cut into as many clips as it fills, and what is left over at its end is dropped; otherwise
        a file is one clip (`folder` only).
      classes: the words to keep, in the order of their labels (`speech_commands` only).
      data_dir: folder of the prepared clips; `None` for the user's cache folder.
    """

    archive: str | None = None
    source: str = "speech_commands"
    sample_rate: int = 16000
    length: int = 16000
    whole: bool = False
    trim_db: float = 0.0
    rms: float = 0.0
    fade: int = 0
    windows: bool = False
    classes: tuple[str, ...] = DIGITS
    data_dir: str | None = None

    def __post_init__(self):
        _check(self.source in SOURCES, "source", self.source, f"one of {', '.join(SOURCES)}")
        _check_whole("sample_rate", self.sample_rate, RATES, "Hz")
        _check_whole("length", self.length, (1, MAX_LENGTH), "samples")
        _check_whole("fade", self.fade, (0, MAX_LENGTH), "samples, 0 for none")
        _check(
            _is_number(self.trim_db) and self.trim_db >= 0,
            "trim_db",
            self.trim_db,
            "0 (off) or a positive number of dB",
        )
        _check(_is_number(self.rms) and 0 <= self.rms < 1, "rms", self.rms, "0 (off) or a level below 1")
        _check(all(isinstance(word, str) for word in self.classes), "classes", self.classes, "words")
        _check(len(set(self.classes)) == len(self.classes) > 0, "classes", self.classes, "distinct words")
        _check(isinstance(self.windows, bool), "windows", self.windows, "True or False")
        _check(self.source == "folder" or not self.windows, "windows", self.windows, "False but for source 'folder'")
        _check(not (self.windows and self.whole), "whole", self.whole, "False where files are cut into windows")
        _check(not (self.windows and self.trim_db), "trim_db", self.trim_db, "0 where files are cut into windows")
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
        try:
            path = Path(self.archive).expanduser().resolve()
            exists = path.exists()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL in it, no home folder, links in a circle
            raise UserError(
                f"data.archive: {self.archive!r} is no path ({error}); give a folder or a .tar.gz"
            ) from error
        if not exists:
            raise UserError(
                f"data.archive: nothing found at {path}; give a folder or a .tar.gz, or leave the field "
                "empty to download Speech Commands v0.02"
            )
        return path


def _check_whole(field: str, value: object, limits: tuple[int, int], unit: str) -> None:
    number = int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else -1
    wanted = f"a whole number of {unit}, {limits[0]} to {limits[1]}"
    _check(limits[0] <= number <= limits[1], field, value, wanted)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _check(condition: bool, field: str, value: object, wanted: str) -> None:
    if not condition:
        raise UserError(f"data.{field} is {value!r}; it must be {wanted}")
