"""How fast the input pipeline delivers clips: `python -m benchmarks.input_pipeline`.

Prepares made-up clips of SC09's size and reads them through the loader, plain and augmented, in one run.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from diffwave_jax.data import make_loader, open_dataset

SAMPLE_RATE = 16000


def main() -> None:
    """Prints clips per second for each setting."""
    arguments = _parse()
    with tempfile.TemporaryDirectory() as folder:
        _write_clips(Path(folder, "clips"), arguments.clips)
        config = {"archive": f"{folder}/clips", "data_dir": f"{folder}/prepared"}
        start = time.perf_counter()
        dataset = open_dataset(config)
        seconds = time.perf_counter() - start
        print(f"preparing {arguments.clips} clips of {SAMPLE_RATE} samples: {arguments.clips / seconds:,.0f} clips/s")
        for name, augmentation in {"plain": {}, "shift and gain": {"shift": 800, "gain": (0.5, 1.5)}}.items():
            for prefetch in (0, 4):
                loader = make_loader(
                    dataset, batch_size=arguments.batch_size, seed=0, prefetch=prefetch, **augmentation
                )
                rates = [_rate(loader, arguments) for _ in range(arguments.repeats)]
                print(
                    f"loading, {name}, prefetch {prefetch}: median {np.median(rates):,.0f}, "
                    f"{min(rates):,.0f} to {max(rates):,.0f} clips/s"
                )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def _write_clips(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, SAMPLE_RATE + count)
    for digit in ("zero", "one"):
        (folder / digit).mkdir(parents=True)
    for index in range(count):
        clip = noise[index : index + SAMPLE_RATE]
        soundfile.write(folder / ("zero", "one")[index % 2] / f"speaker_nohash_{index}.wav", clip, SAMPLE_RATE)


def _rate(loader, arguments: argparse.Namespace) -> float:
    """Clips per second over some batches, each of them touched."""
    next(loader)
    start = time.perf_counter()
    total = sum(next(loader)["audio"][:, 0].sum() for _ in range(arguments.batches))
    assert np.isfinite(total)
    return arguments.batches * arguments.batch_size / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
