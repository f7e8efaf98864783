"""What a user waits for before the first clip: `python benchmarks/start.py [--n 1 16]`.

Prints wall and CPU time of the package's import, and of `sample.py` twice for each number of clips: the first run with
an empty cache folder, the second with what the first one kept there.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Prints one line a command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", nargs="+", type=int, default=[1, 16], help="numbers of clips (1 16)")
    options = parser.parse_args()
    run("import diffwave_jax", [sys.executable, "-c", "import diffwave_jax"])
    for n in options.n:
        with tempfile.TemporaryDirectory() as folder:
            environment = {"DIFFWAVE_JAX_CACHE": str(Path(folder) / "cache")}
            for which in ("first", "second"):
                command = [sys.executable, str(ROOT / "sample.py"), f"--n={n}", f"--out={Path(folder) / which}"]
                run(f"sample.py --n {n}, {which} run", command, **environment)


def run(name: str, command: list[str], **environment: str) -> None:
    """Prints what one command took."""
    start, before = time.perf_counter(), cpu_seconds()
    subprocess.run(command, env=os.environ | environment, cwd=ROOT, capture_output=True, check=True)
    print(f"{name}: {time.perf_counter() - start:.1f} s, {cpu_seconds() - before:.1f} s CPU", flush=True)


def cpu_seconds() -> float:
    """Of all commands so far, in user and system mode."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
