"""Small made-up data sets."""

import os
import tarfile
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


def shared_data() -> Path | None:
    """The folder of real archives beside the project, if there is one."""
    root = Path(__file__).resolve().parents[2]
    named = [os.environ["DIFFWAVE_SHARED"]] if "DIFFWAVE_SHARED" in os.environ else []
    candidates = (Path(folder, "data") for folder in (*named, root.parent / "shared", root.parents[1] / "shared"))
    return next((folder for folder in candidates if folder.is_dir()), None)


def tone(seconds: float = 0.05, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    """A sine of amplitude 0.5."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), samples, rate, subtype=subtype)  # bytes: the name may not be UTF-8
    return path


def write_layout(root: Path, words: dict[str, int], validation=(), testing=(), rate: int = RATE) -> Path:
    """Writes `words[word]` clips `<word>/s<i>_nohash_0.wav` of int16 ramps, each of its own height, and the lists."""
    height = 0
    for word, count in words.items():
        for index in range(count):
            height += 1
            ramp = np.linspace(0, 0.001 * height, 100 * (index + 1))
            write_wav(root / word / f"s{index}_nohash_0.wav", ramp, rate)
    (root / "validation_list.txt").write_text("".join(f"{line}\n" for line in validation))
    (root / "testing_list.txt").write_text("".join(f"{line}\n" for line in testing))
    return root


def pack(root: Path, archive: Path, prefix: str = "./") -> Path:
    """Packs a folder's files into a .tar.gz, their names beginning with `prefix`."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(root.rglob("*")):
            tar.add(path, arcname=prefix + path.relative_to(root).as_posix(), recursive=False)
    return archive
