"""Source "ljspeech": one reader's 24 hours of English, 13,100 utterances of 1 to 10 seconds at 22,050 Hz.

Ito and Johnson, "The LJ Speech Dataset", 2017, public domain. The recordings of its first two books are held out, as by
lmnt-com/diffwave: LJ001 for the test, LJ002 for validation.
"""

from pathlib import Path, PurePosixPath

from diffwave_jax.data import folder
from diffwave_jax.data.listing import Files
from diffwave_jax.data.published import Published
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.data.splits import ClipFile, Splits
from diffwave_jax.download import OnProgress
from diffwave_jax.errors import UserError

PUBLISHED = Published(
    "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
    2_748_572_632,
    "be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
)
HELD_OUT = {"LJ001": "test", "LJ002": "validation"}

read = folder.read


def fetch(target: Path, on_download: OnProgress | None = None) -> Path:
    """LJ Speech 1.1 in a folder, see `Published.fetch`."""
    return PUBLISHED.fetch(target, on_download)


def wanted(name: str, spec: DataSpec) -> bool:
    """Whether a file is one of the utterances."""
    del spec
    path = PurePosixPath(name)
    return path.suffix.lower() == ".wav" and path.name.startswith("LJ")


def find(files: Files, spec: DataSpec) -> tuple[tuple[str, ...], Splits, list[str]]:
    """Returns the one label's name, the utterances by split, and remarks on what was found."""
    if not files.paths:
        raise UserError(f"data.archive: {spec.archive} holds no utterance of LJ Speech, such as LJ001-0001.wav")
    splits: Splits = {"train": [], "validation": [], "test": []}
    for name, path in files.paths.items():
        book = PurePosixPath(name).name.partition("-")[0]
        splits[HELD_OUT.get(book, "train")].append(ClipFile(name, path, folder.UNLABELLED))
    return (folder.UNLABELLED,), splits, []
