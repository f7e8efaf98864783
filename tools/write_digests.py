"""Records digests for checkpoints that have none, such as those of older code: python tools/write_digests.py PATH ...

A digest says what the files are now: only give checkpoints that are known to be whole.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from diffwave_jax import checkpoint, digests


def main(*paths: str) -> None:
    """Writes the record of every step in these runs, `checkpoints` folders or steps."""
    for path in map(Path, paths):
        for step in [path] if checkpoint.is_step(path) else checkpoint.steps(path).values():
            digests.write(step)
            print(step / digests.RECORD)


if __name__ == "__main__":
    main(*sys.argv[1:])
