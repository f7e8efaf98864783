"""Speech Commands v0.02 from its publisher, through TFDS's download manager."""

import shutil
from pathlib import Path

import requests
import tensorflow_datasets as tfds
from filelock import FileLock
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.util import DownloadError

from diffwave_jax.errors import UserError

URL = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
URL_INFOS = {
    URL: tfds.download.checksums.UrlInfo(
        size=2428923189,
        checksum="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        filename="speech_commands_v0.02.tar.gz",
    )
}


def download(dl_manager: tfds.download.DownloadManager, show_progress: bool) -> Path:
    """Returns the archive's path, downloaded unless it is there already, its checksum verified.

    Raises `UserError` where it cannot be had or is not the registered one.
    """
    folder = Path(dl_manager.download_dir)
    with FileLock(folder / "lock"):
        _remove_leftovers(folder)
        tfds.display_progress_bar(show_progress)
        try:
            return Path(dl_manager.download(URL))
        except (requests.RequestException, DownloadError) as error:
            raise UserError(
                f"{URL} cannot be downloaded ({error}); fetch it another way and give its path as data.archive"
            ) from error
        except NonMatchingChecksumError as error:
            raise UserError(f"{URL} gave a file of the wrong checksum, now removed; try again") from error
        finally:
            tfds.disable_progress_bar()
            _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    """TFDS leaves behind what a failed or killed download had."""
    for leftover in folder.rglob("*.tmp.*"):
        shutil.rmtree(leftover)
