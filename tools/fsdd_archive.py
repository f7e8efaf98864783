"""The Free Spoken Digit Dataset as it is published, laid out like Speech Commands.

    python tools/fsdd_archive.py free-spoken-digit-dataset-1.0.10.tar.gz fsdd.tar.gz

The first is a release (.tar.gz or .zip) from https://github.com/Jakobovski/free-spoken-digit-dataset, or a folder with
one. `recordings/7_theo_0.wav` becomes `seven/theo_nohash_0.wav`; recordings 0 to 4 of each speaker and digit are the
test split, as FSDD's readme has it, 5 to 9 the validation split.
"""

import argparse
import io
import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax import cli
from diffwave_jax.data.spec import DIGITS
from diffwave_jax.data.splits import LISTS
from diffwave_jax.errors import UserError
from diffwave_jax.files import complete, make_folder

SPLITS = {"test": range(5), "validation": range(5, 10)}
Recordings = dict[tuple[str, str, int], Path]  # by word, speaker and index


def main(options: argparse.Namespace) -> None:
    """Writes the archive and says how many recordings are in it."""
    with tempfile.TemporaryDirectory() as folder:
        recordings = find(options.published if options.published.is_dir() else unpack(options.published, folder))
        if not recordings:
            raise UserError(f"{options.published} has no file like recordings/7_theo_0.wav: give a release of FSDD")
        make_folder(options.archive.parent)
        with complete(options.archive) as partial:
            write(partial, recordings)
    print(f"{options.archive}: {len(recordings)} recordings")


def unpack(published: Path, folder: str) -> Path:
    """The folder, with what is in the release."""
    try:
        shutil.unpack_archive(published, folder)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{published} cannot be unpacked ({error}): give a release of FSDD, .tar.gz or .zip") from error
    return Path(folder)


def find(folder: Path) -> Recordings:
    """The recordings of a release."""
    named = [(re.fullmatch(r"(\d)_([^_]+)_(\d+)\.wav", path.name), path) for path in folder.rglob("recordings/*.wav")]
    return {(DIGITS[int(match[1])], match[2], int(match[3])): path for match, path in named if match}


def write(archive: Path, recordings: Recordings) -> None:
    """The recordings and the lists of two splits as a tar.gz."""
    names = {key: "{}/{}_nohash_{}.wav".format(*key) for key in sorted(recordings)}
    with tarfile.open(archive, "w:gz") as tar:
        for key, name in names.items():
            tar.add(recordings[key], name, recursive=False)
        for split, indices in SPLITS.items():
            text = "".join(f"{name}\n" for key, name in names.items() if key[2] in indices).encode()
            entry = tarfile.TarInfo(LISTS[split])
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.ArgumentParser(__doc__)
    parser.add_argument("published", type=Path, help="a release of FSDD, or a folder with one")
    parser.add_argument("archive", type=Path, help="the archive to write")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(cli.guard(main, parse(sys.argv[1:])))
