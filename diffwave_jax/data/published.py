"""A data set's one file as its publisher has it: downloaded once, and known by its digest."""

import dataclasses
from pathlib import Path

from filelock import FileLock

from diffwave_jax.download import OnProgress, Unreachable, download, sha256
from diffwave_jax.errors import UserError
from diffwave_jax.files import make_folder


@dataclasses.dataclass(frozen=True)
class Published:
    """A published file.

    Attributes:
      url: where it is.
      size: its bytes.
      sha256: of the file.
    """

    url: str
    size: int
    sha256: str

    def fetch(self, folder: Path, on_download: OnProgress | None = None) -> Path:
        """The file in `folder`, downloaded from its publisher if it is not there.

        Args:
          folder: made if need be; of several processes one downloads and the others wait.
          on_download: called with (bytes done, bytes in all) meanwhile.

        Raises:
          UserError: it cannot be had, or is not the published file.
        """
        make_folder(folder)
        target = folder / self.url.rsplit("/", 1)[1]
        with FileLock(folder / "lock"):
            if not target.exists():
                try:
                    download(self.url, target, check=self._check, on_progress=on_download, largest=self.size)
                except Unreachable as error:
                    raise UserError(f"{error}; fetch it another way, and give its path as data.archive") from error
        return target

    def _check(self, part: Path) -> None:
        size = part.stat().st_size
        if (size, sha256(part)) != (self.size, self.sha256):
            raise UserError(
                f"{self.url} gave another file than the published one ({size:,} bytes), now removed; try again"
            )
