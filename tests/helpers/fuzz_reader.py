"""Mutates PyTorch checkpoints and counts what the reader makes of them.

  python tests/helpers/fuzz_reader.py --files 20000

Every file must end in values or in a UserError of one line: no other exception, no call, no hang, no memory beyond the
file's own size. The exit status is 1 where that fails.
"""

import argparse
import encodings.cp437  # noqa: F401 - which zipfile would import, and so execute, on meeting its first odd name
import io
import random
import re
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from diffwave_jax.convert.torch_pickle import TensorReference
from diffwave_jax.convert.torch_reader import TorchFile, open_checkpoint
from diffwave_jax.errors import UserError

SECONDS = 10  # after which a file counts as a hang
CALLS = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.", "exec", "pickle.find_class", "socket.")
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)

Mutation = Callable[[bytes, random.Random], bytes]


def small_checkpoints() -> list[bytes]:
    """A checkpoint of the original's shape, in both formats; its tensors are small so that mutations meet the rest."""
    rng = np.random.default_rng(0)
    weights = {f"layer.{n}.weight": torch.tensor(rng.normal(size=(2, 3)), dtype=torch.float32) for n in range(3)}
    weights["strided"] = torch.arange(6.0).reshape(2, 3).t()
    moments = {n: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2, 3)} for n in range(2)}
    groups = [{"lr": 2e-4, "betas": (0.9, 0.999), "foreach": None, "params": [0, 1, 2, 3]}]
    content = {
        "model_state_dict": weights,
        "optimizer_state_dict": {"state": moments, "param_groups": groups},
        "steps": 800_000,
        "lr": 2e-4,
    }
    files = []
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
        files.append(buffer.getvalue())
    return files


def truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def flip_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def overwrite_span(data: bytes, rng: random.Random) -> bytes:
    start, size = _span(data, rng)
    return data[:start] + rng.choice((b"\0", b"\xff", rng.randbytes(1), b"(", b".")) * size + data[start + size :]


def delete_span(data: bytes, rng: random.Random) -> bytes:
    start, size = _span(data, rng)
    return data[:start] + data[start + size :]


def repeat_span(data: bytes, rng: random.Random) -> bytes:
    start, size = _span(data, rng)
    return data[: start + size] + data[start : start + size] * rng.choice((1, 2, 50)) + data[start + size :]


def insert_noise(data: bytes, rng: random.Random) -> bytes:
    start, size = _span(data, rng)
    return data[:start] + rng.randbytes(size) + data[start:]


def set_number(data: bytes, rng: random.Random) -> bytes:
    """A size, offset or count may stand anywhere: write a dangerous one."""
    width = rng.choice((1, 2, 4, 8))
    number = (rng.choice(NUMBERS) % 2 ** (8 * width)).to_bytes(width, rng.choice(("little", "big")))
    start = rng.randrange(len(data) - width)
    return data[:start] + number + data[start + width :]


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    return rng.randrange(len(data)), rng.choice((1, 2, 4, 16, 64, 256))


RAW: list[Mutation] = [truncate, flip_bytes, overwrite_span, delete_span, repeat_span, insert_noise, set_number]


def mutate_member(data: bytes, rng: random.Random) -> bytes:
    """One member of a zip changed behind a correct checksum, so that the change reaches the pickle or the tensors."""
    members = _members(data)
    name = rng.choice([name for name in members if name.endswith("data.pkl")] * 4 + list(members))
    members[name] = rng.choice(RAW)(members[name], rng) if len(members[name]) > 8 else rng.randbytes(rng.randrange(9))
    return _zip(members, zipfile.ZIP_STORED)


def rearrange_members(data: bytes, rng: random.Random) -> bytes:
    """A zip with a member missing, doubled, renamed or moved, or with compressed members."""
    members = _members(data)
    name = rng.choice(list(members))
    kind = rng.choice(("missing", "renamed", "resized", "swapped", "compressed"))
    if kind == "missing":
        del members[name]
    elif kind == "renamed":
        members[rng.choice(("../", "/", "x/data.pkl", "", "archive/")) + name] = members.pop(name)
    elif kind == "resized":
        members[name] = members[name] * rng.choice((0, 2, 100))
    elif kind == "swapped":
        other = rng.choice(list(members))
        members[name], members[other] = members[other], members[name]
    return _zip(members, zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED)


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(members: dict[str, bytes], compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def mutant(originals: list[bytes], rng: random.Random) -> bytes:
    """A random mutation of one of the originals (the first is a zip), or the head of one with the tail of another."""
    data = rng.choice(originals)
    choice = rng.random()
    if data is originals[0] and choice < 0.5:
        return rng.choice((mutate_member, mutate_member, rearrange_members))(data, rng)
    if choice < 0.53:
        other = rng.choice(originals)
        return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    return rng.choice(RAW)(data, rng)


def outcome(path: Path, originals: list[list[bytes]]) -> str:
    """What reading the whole file comes to: "read, ..." or the kind of UserError."""
    try:
        with open_checkpoint(path) as file:
            values = [array.tobytes() for array in read_tensors(file)]
    except UserError as error:
        message = str(error)
        if "\n" in message or not message.isprintable():
            raise AssertionError(f"not one printable line: {message!r}") from error
        return kind_of(message, path)
    return "read, as it was" if values in originals else "read, other values"


def kind_of(message: str, path: Path) -> str:
    """The first words of the message's reason, without names and numbers."""
    reason = message.replace(str(path), "").removeprefix(" cannot be read as a PyTorch checkpoint: ")
    words = re.sub(r"b?'[^']*'|b?\"[^\"]*\"|\([^)]*\)|0x\w+|-?\d[\d,]*", "#", reason).split()
    return f"refused: {' '.join('#' if word.isupper() else word for word in words[:3])}"


def read_tensors(file: TorchFile) -> list[np.ndarray]:
    """Every tensor that the content reaches, each container looked at once."""
    arrays, seen, todo = [], set(), [file.content]
    while todo:
        value = todo.pop()
        if isinstance(value, TensorReference):
            arrays.append(file.read(value))
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            todo += value.values() if isinstance(value, dict) else value
    return arrays


def fuzz(files: int, seed: int = 0) -> tuple[Counter, list[str]]:
    """Reads mutants; returns the count of each outcome, and what went wrong."""
    rng = random.Random(seed)
    originals, failures, outcomes = small_checkpoints(), [], Counter()
    watch = _CallWatch()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutant.pt")
        truth = []
        for data in originals:
            path.write_bytes(data)
            with open_checkpoint(path) as file:
                truth.append([array.tobytes() for array in read_tensors(file)])
        for number in range(files):
            path.write_bytes(mutant(originals, rng))
            signal.alarm(SECONDS)
            try:
                with watch:
                    outcomes[outcome(path, truth)] += 1
            except Exception as error:  # whatever it is, it is a finding
                outcomes["FAILURE"] += 1
                failures.append(f"file {number} (seed {seed}): {type(error).__name__}: {error}")
            signal.alarm(0)
    return outcomes, failures + [f"a call was made: {event}" for event in watch.events]


class _CallWatch:
    """Hears of every call that leaves the interpreter or builds code, while it is entered."""

    def __init__(self):
        self.events: list[str] = []
        self._watching = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: tuple) -> None:
        if self._watching and event.startswith(CALLS):
            self.events.append(event)

    def __enter__(self) -> None:
        self._watching = True

    def __exit__(self, *_) -> None:
        self._watching = False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes, failures = fuzz(options.files, options.seed)
    for kind, count in outcomes.most_common():
        print(f"{count:7,}  {kind}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    print(f"{options.files:,} files in {time.perf_counter() - start:.0f} s, memory grew by {grown:.0f} MB")
    print(*failures[:20], sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
