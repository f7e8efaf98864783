"""How long evaluate.py takes for 1,000 clips, its start included: python benchmarks/evaluation_speed.py [CLIPS]."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parents[1]
RATE = 8000


def main(num_clips=1000):
    """Writes clips of ten recordings under noise, evaluates them and prints the time."""
    recordings = sorted((ROOT / "tests" / "data" / "digits").glob("*.wav"))
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(num_clips):
            audio, _ = soundfile.read(recordings[index % 10])
            noisy = audio + 0.003 * random.standard_normal(len(audio))
            soundfile.write(Path(folder) / f"{index:05d}_digit{index % 10}.wav", noisy, RATE)
        start = time.perf_counter()
        command = [sys.executable, str(ROOT / "evaluate.py"), folder, "--out", f"{folder}/out"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"{num_clips} clips: {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
