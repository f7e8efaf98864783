"""Mutates archives of audio and counts what the data pipeline makes of them.

  python -m tests.helpers.fuzz_archives --files 1000

Every archive must end in clips or in a UserError of one line: no other exception, no hang, no memory or disk beyond
what its size allows. The exit status is 1 where that fails.
"""

import argparse
import io
import random
import resource
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

from diffwave_jax.data import audio, folder
from diffwave_jax.data.archive import LARGEST_RATIO, SPARE_BYTES, open_files
from diffwave_jax.data.spec import DataSpec
from diffwave_jax.errors import UserError
from diffwave_jax.recording import CorruptClipError
from tests.helpers.fuzz_reader import RAW

SECONDS = 2.0  # that one archive may take
MEGABYTES = 100  # that reading them all may add to the process


def small_archives() -> list[bytes]:
    """The same clips and list as .tar.gz, .zip, .tar in three formats, and .tar.xz."""
    files = {"validation_list.txt": b"cats/1.wav\n"}
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 400)
    for name in ("cats/1.wav", "cats/2.wav", "dogs/1.flac", "dogs/" + 120 * "long" + ".wav"):
        buffer = io.BytesIO()
        soundfile.write(buffer, noise, 16000, format=name.rsplit(".", 1)[1])
        files[name] = buffer.getvalue()
    modes = (
        ("w:gz", tarfile.PAX_FORMAT),
        ("w", tarfile.PAX_FORMAT),
        ("w", tarfile.GNU_FORMAT),
        ("w:xz", tarfile.PAX_FORMAT),
    )
    return [_zip(files), *(_tar(files, mode, form) for mode, form in modes)]


def _tar(files: dict[str, bytes], mode: str, form: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=form) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def outcome(path: Path, scratch: Path) -> str:
    """What preparing an archive comes to: "N clips" or the kind of UserError."""
    spec = DataSpec(archive=str(path), source="folder", length=400)
    try:
        files = open_files(path, lambda name: folder.wanted(name, spec), scratch)
        _, splits, _ = folder.find(files, spec)
        return f"{sum(_is_read(clip, spec) for clips in splits.values() for clip in clips)} clips"
    except UserError as error:
        message = str(error)
        if not message.isprintable():
            raise AssertionError(f"not one printable line: {message!r}") from error
        return "refused: " + " ".join(message.replace(str(path), "").removeprefix("data.archive: ").split()[:5])
    finally:
        unpacked = sum(file.stat().st_size for file in scratch.iterdir())
        assert unpacked <= SPARE_BYTES + LARGEST_RATIO * path.stat().st_size, f"{unpacked} bytes unpacked"


def _is_read(clip, spec) -> bool:
    try:
        samples, _ = folder.read(clip, spec)
    except CorruptClipError:
        return False
    return len(audio.fit(samples, spec)[0]) == spec.length


def fuzz(count: int, seed: int = 0) -> tuple[Counter, list[str], float]:
    """Prepares the originals and mutants; returns the count of each outcome, what went wrong, the longest time."""
    rng, originals = random.Random(seed), small_archives()
    outcomes, failures, longest = Counter(), [], 0.0
    with tempfile.TemporaryDirectory() as root:
        path = Path(root, "mutant")
        for number in range(-len(originals), count):
            data = rng.choice(originals) if number >= 0 else originals[number]
            path.write_bytes(rng.choice(RAW)(data, rng) if number >= 0 else data)
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    found = outcome(path, Path(scratch))
                    outcomes[found] += 1
                    assert number >= 0 or found == "4 clips", f"an archive as it was gives {found}"
                except Exception as error:  # whatever it is, it is a finding
                    outcomes["FAILURE"] += 1
                    failures.append(f"archive {number} (seed {seed}): {type(error).__name__}: {error}")
            if number >= 0:  # the first ones load what is loaded on demand
                longest = max(longest, time.perf_counter() - start)
    return outcomes, failures, longest


def megabytes() -> float:
    """The most memory that the process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    fuzz(1)  # loads what is loaded on demand
    start, memory = time.perf_counter(), megabytes()
    outcomes, failures, longest = fuzz(options.files, options.seed)
    for kind, count in outcomes.most_common():
        print(f"{count:7,}  {kind}")
    seconds, grown = time.perf_counter() - start, megabytes() - memory
    print(f"{options.files:,} archives in {seconds:.0f} s, {longest:.2f} s the longest, memory grew by {grown:.0f} MB")
    print(*failures[:20], sep="\n")
    return 1 if failures or longest > SECONDS or grown > MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())
