"""Time and peak memory of converting full-size checkpoints of random values, in both of PyTorch's file formats.

python -m benchmarks.convert_full_size [--folder DIR]

Needs PyTorch, to write the files. Each conversion runs in a process of its own; memory is its peak resident size.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from diffwave_jax.convert import mapping
from diffwave_jax.convert.contents import Adam, Contents
from diffwave_jax.convert.to_torch import write_torch
from diffwave_jax.convert.torch_reader import open_checkpoint

STEP = 800_000


def random_contents(name: str) -> Contents:
    """A full-size network with random weights and Adam state."""
    rng = np.random.default_rng(0)
    model = {"name": name}
    shapes = mapping.weight_shapes(model)
    weights, mu, nu = (
        {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()} for _ in range(3)
    )
    return Contents(model, weights, STEP, 4e-5, Adam(STEP, mu, nu))


def to_legacy(source: Path, target: Path) -> None:
    """Writes a checkpoint anew, in PyTorch's old format."""
    torch.save(torch.load(source, weights_only=True), target, _use_new_zipfile_serialization=False)


def measure(command: list[str]) -> tuple[float, float]:
    """Seconds and peak resident gigabytes of a process that succeeds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"failed: {command}")
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e9


def differing(first: Path, second: Path) -> list[str]:
    """Tensors that are not the same to the bit in two checkpoints, the recomputed buffers apart."""
    with open_checkpoint(first) as one, open_checkpoint(second) as two:
        left, right = (file.content["model_state_dict"] for file in (one, two))
        names = [name for name in left.keys() | right.keys() if not name.endswith((".omega", ".z"))]
        different = [name for name in names if not np.array_equal(one.read(left[name]), two.read(right[name]))]
        left, right = (file.content["optimizer_state_dict"]["state"] for file in (one, two))
        for number in left.keys() | right.keys():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if not np.array_equal(one.read(left[number][key]), two.read(right[number][key])):
                    different.append(f"{key} of parameter {number}")
        return different


def report(name: str, form: str, file: Path) -> None:
    """Converts there and back, and prints what it took."""
    run, back = file.with_suffix(""), file.with_suffix(".back.pt")
    script = [sys.executable, str(Path(__file__).parents[1] / "convert_torch_ckpt.py")]
    seconds, gigabytes = measure([*script, str(file), str(run)])
    seconds_back, gigabytes_back = measure([*script, "--to-torch", str(run), str(back)])
    print(
        f"{name:8} {form:6} {file.stat().st_size / 1e6:4.0f} MB: to ours {seconds:5.1f} s {gigabytes:4.2f} GB, "
        f"back {seconds_back:5.1f} s {gigabytes_back:4.2f} GB, "
        f"tensors changed by the round trip: {len(differing(file, back))}",
        flush=True,
    )


def main() -> None:
    """Both networks in both formats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to write (needs 4 GB; default: the system's)")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as temporary:
        for name in ("sashimi", "diffwave"):
            files = {form: Path(temporary) / f"{name}_{form}.pt" for form in ("zip", "legacy")}
            write_torch(files["zip"], random_contents(name))
            to_legacy(files["zip"], files["legacy"])
            for form, file in files.items():
                report(name, form, file)


if __name__ == "__main__":
    main()
