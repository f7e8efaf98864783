"""Mutates PyTorch checkpoints and counts what the reader makes of them.

  python tests/helpers/fuzz_reader.py --files 20000

Every file must end in values or in a UserError of one line: no other exception, no call, no hang, no memory beyond the
file's own size. The exit status is 1 where that fails.
"""

import argparse
import codecs
import io
import json
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch

from diffwave_jax.convert import mapping
from diffwave_jax.convert.from_torch import read_torch
from diffwave_jax.convert.tensor_file import TensorFile
from diffwave_jax.convert.torch_names import TensorReference
from diffwave_jax.convert.torch_reader import open_checkpoint
from diffwave_jax.errors import UserError
from tests.helpers.torch_files import MODELS, random_contents

SECONDS = 2.0  # of work that a file may take; none here has more than 1 MB
MEGABYTES = 100  # that the process may grow by for it
HANG = 60  # seconds
# Python imports, and so executes, a text encoding where it is first met: by zipfile, pickletools and UserError.
ENCODINGS = [codecs.lookup(name) for name in ("cp437", "raw_unicode_escape", "unicode_escape")]
NETWORK = MODELS["diffwave"]
CALLS = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.", "exec", "pickle.find_class", "socket.")
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)

Mutation = Callable[[bytes, random.Random], bytes]


def small_checkpoints() -> dict[str, bytes]:
    """A checkpoint of the original's shape, in every format; its tensors are small so that mutations meet the rest."""
    content = _small_content()
    beside = {"numpy": np.float32(0.1), "path": Path("a/b"), "set": {1, 2}, "size": torch.Size([2]), "bytes": b"ab"}
    halves = {name: tensor.bfloat16() for name, tensor in content["model_state_dict"].items()}
    return {
        "zip": _saved(content),
        "old format": _saved(content, _use_new_zipfile_serialization=False),
        "zip, protocol 4": _saved({**content, **beside}, pickle_protocol=4),
        "zip, protocol 5, bfloat16": _saved({**content, "model_state_dict": halves}, pickle_protocol=5),
        "old format, protocol 4": _saved(
            {**content, **beside}, _use_new_zipfile_serialization=False, pickle_protocol=4
        ),
        "safetensors": safetensors({name: tensor.numpy() for name, tensor in content["model_state_dict"].items()}),
        "safetensors, bfloat16": safetensors(
            {name: tensor.view(torch.int16).numpy() for name, tensor in halves.items()}, "BF16"
        ),
    }


def network_checkpoint() -> bytes:
    """A whole DiffWave that converts, in float16."""
    contents = random_contents(NETWORK, optimizer=False)
    state = {t.torch_name: torch.tensor(t.to_torch(contents.weights)).half() for t in mapping.tensors(NETWORK)}
    return _saved({"model_state_dict": state, "steps": 7})


def _small_content() -> dict:
    rng = np.random.default_rng(0)
    weights = {f"layer.{n}.weight": torch.tensor(rng.normal(size=(2, 3)), dtype=torch.float32) for n in range(3)}
    weights["strided"] = torch.arange(6.0).reshape(2, 3).t()
    moments = {n: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2, 3)} for n in range(2)}
    groups = [{"lr": 2e-4, "betas": (0.9, 0.999), "foreach": None, "params": [0, 1, 2, 3]}]
    return {
        "model_state_dict": weights,
        "optimizer_state_dict": {"state": moments, "param_groups": groups},
        "steps": 800_000,
        "lr": 2e-4,
    }


def _saved(content: object, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def safetensors(tensors: Mapping[str, np.ndarray], dtype: str = "F32") -> bytes:
    """A file in that format; `dtype` is what the arrays' bytes are called."""
    head: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    blobs, at = [], 0
    for name, array in tensors.items():
        blobs.append(array.tobytes())
        head[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(blobs)


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


def mutate_header(data: bytes, rng: random.Random) -> bytes:
    """The header of a safetensors file changed behind a correct length, so that the change reaches its JSON."""
    (length,) = struct.unpack_from("<Q", data)
    header = rng.choice(RAW)(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def mutant(originals: list[bytes], rng: random.Random) -> bytes:
    """A random mutation of one of the originals, or the head of one with the tail of another."""
    data = rng.choice(originals)
    choice = rng.random()
    if data[8:9] == b"{" and choice < 0.5:
        return mutate_header(data, rng)
    if data.startswith(b"PK") and choice < 0.5:
        return rng.choice((mutate_member, mutate_member, rearrange_members))(data, rng)
    if choice < 0.53:
        other = rng.choice(originals)
        return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]
    return rng.choice(RAW)(data, rng)


def outcome(path: Path, originals: list[list[bytes]], watch: AbstractContextManager) -> str:
    """What reading the whole file comes to: "converted", "read, ..." or the kind of UserError."""
    values = None
    try:
        with watch, open_checkpoint(path) as file:
            values = [array.tobytes() for array in read_tensors(file)]
        read_torch(path, dilation_cycle=2)
        return "converted"
    except UserError as error:
        message = str(error)
        if "\n" in message or not message.isprintable():
            raise AssertionError(f"not one printable line: {message!r}") from error
        if values is None:
            return kind_of(message, path)
    return "read, as it was" if values in originals else "read, other values"


def kind_of(message: str, path: Path) -> str:
    """The first words of the message's reason, without names and numbers."""
    reason = message.replace(str(path), "").removeprefix(" cannot be read as a PyTorch checkpoint: ")
    words = re.sub(r"b?'[^']*'|b?\"[^\"]*\"|\([^)]*\)|0x\w+|-?\d[\d,]*", "#", reason).split()
    return f"refused: {' '.join('#' if word.isupper() else word for word in words[:3])}"


def read_tensors(file: TensorFile) -> list[np.ndarray]:
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
    """Reads mutants; returns the count of each outcome and the largest work, and what went wrong."""
    rng = random.Random(seed)
    originals, failures, outcomes = [*small_checkpoints().values(), network_checkpoint()], [], Counter()
    watch = _CallWatch()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mutant.pt")
        truth = [_values(path, data) for data in originals]
        outcome(
            path, truth, watch
        )  # the last is the network: what is loaded and compiled once is not the mutants' work
        for number in range(files):
            path.write_bytes(mutant(originals, rng))
            start, memory = time.process_time(), _megabytes()
            signal.alarm(HANG)
            try:
                outcomes[outcome(path, truth, watch)] += 1
            except Exception as error:  # whatever it is, it is a finding
                failures.append(f"file {number} (seed {seed}): {type(error).__name__}: {error}")
            signal.alarm(0)
            seconds, grown = time.process_time() - start, _megabytes() - memory
            LARGEST.update(seconds=max(LARGEST["seconds"], seconds), megabytes=max(LARGEST["megabytes"], grown))
            if seconds > SECONDS or grown > MEGABYTES:
                failures.append(f"file {number} (seed {seed}): {seconds:.1f} s, grown by {grown:.0f} MB")
    return outcomes, failures + [f"a call was made: {event}" for event in watch.events]


LARGEST = {"seconds": 0.0, "megabytes": 0.0}  # of the files read so far


def _values(path: Path, data: bytes) -> list[bytes]:
    path.write_bytes(data)
    with open_checkpoint(path) as file:
        return [array.tobytes() for array in read_tensors(file)]


def _megabytes() -> float:
    """The process's largest size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _CallWatch:
    """Hears of every call that leaves the interpreter or builds code, while it is entered."""

    def __init__(self):
        self.events: list[str] = []
        self._watching = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple) -> None:
        if self._watching and event.startswith(CALLS):
            self.events.append(f"{event} {arguments!r:.200}")

    def __enter__(self) -> None:
        self._watching = True

    def __exit__(self, *_) -> None:
        self._watching = False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    outcomes, failures = fuzz(options.files, options.seed)
    for kind, count in outcomes.most_common():
        print(f"{count:7,}  {kind}")
    print(
        f"{options.files:,} files in {time.perf_counter() - start:.0f} s; the longest took {LARGEST['seconds']:.2f} s "
        f"of processor time, and the process grew by {LARGEST['megabytes']:.0f} MB at most for one"
    )
    print(*failures[:20], sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
