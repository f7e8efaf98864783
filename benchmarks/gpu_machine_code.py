"""What NVIDIA's assembler makes of PTX: registers, shared memory, spills, and the instructions of the loops."""

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Kernel(NamedTuple):
    """One kernel's machine code.

    `shared_bytes` with what is reserved at its launch. `spilled` bytes of registers stored to memory for want of
    registers; `loop` counts the instructions of its longest loop by name, `outside` those that are not in it.
    """

    name: str
    registers: int
    shared_bytes: int
    spilled: int
    loop: Counter
    outside: Counter

    def wide_stores(self) -> bool:
        """Whether every store to device memory is 16 bytes wide."""
        stores = [name for name in self.loop + self.outside if name.startswith("STG")]
        return bool(stores) and all(".128" in name for name in stores)


def kernels(ptx: Path, prefix: str = "") -> list[Kernel]:
    """The kernels in a PTX file whose names begin with `prefix`."""
    source = ptx.read_text()
    entries = re.findall(r"\.entry (\w+)", source)
    if not any(name.startswith(prefix) for name in entries):
        return []
    architecture = _found(re.search(r"^\.target (\w+)", source, re.MULTILINE))[1]
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code.cubin"
        log = _run("ptxas", "-v", f"-arch={architecture}", "-o", code, ptx)
        listing = _run("nvdisasm", "-c", code)
    listings = dict(_sections(listing))
    return [
        Kernel(
            name.removesuffix("_mosaic_gpu_kernel"),
            registers,
            shared + _reserved(ptx, name),
            spilled,
            *_loop_and_rest(listings[name]),
        )
        for name, (registers, shared, spilled) in _usage(log)
        if name.startswith(prefix)
    ]


def _run(tool: str, *arguments) -> str:
    result = subprocess.run([_find(tool), *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{tool} failed: {result.stderr.strip()}")
    return result.stdout + result.stderr


def _find(tool: str) -> str:
    """In NVIDIA's wheels beside jax, or on the path."""
    import nvidia  # pyright: ignore[reportMissingImports]: only requirements-gpu.txt has it

    found = [path for folder in nvidia.__path__ for path in Path(folder).glob(f"*/bin/{tool}")]
    path = str(found[0]) if found else shutil.which(tool)
    if path is None:
        raise RuntimeError(f"{tool} is missing: pip install -r requirements-gpu.txt")
    return path


def _usage(log: str) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """Registers, bytes of shared memory and bytes of spills of every entry in ptxas's log."""
    for name, text in re.findall(r"Compiling entry function '(\w+)'(.*?)(?=Compiling entry|\Z)", log, re.DOTALL):
        shared = re.search(r"(\d+) bytes smem", text)
        spills = _found(re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", text))
        registers = int(_found(re.search(r"Used (\d+) registers", text))[1])
        yield name, (registers, int(shared[1]) if shared else 0, max(map(int, spills.groups())))


def _reserved(ptx: Path, name: str) -> int:
    """Bytes of shared memory asked for at launch, from what Mosaic or XLA writes beside the PTX."""
    mosaic = ptx.with_suffix(".mlir-passes.log")
    if mosaic.exists():
        found = re.search(r"dynamic_shared_memory_size %c(\d+)_i32", mosaic.read_text())
        return int(found[1]) if found else 0
    launches = "".join(path.read_text() for path in ptx.parent.glob(f"{ptx.name.split('.')[0]}.*thunk_sequence.txt"))
    sizes = re.findall(rf"\] {re.sub('__[0-9]+$', '', name)} .*shared_memory: (\d+) bytes", launches)
    return max(map(int, sizes), default=0)


def _sections(listing: str) -> Iterator[tuple[str, str]]:
    for text in re.split(r"(?=//-+ \.text\.)", listing)[1:]:
        yield _found(re.match(r"//-+ \.text\.(\S+)", text))[1], text


def _found(match: re.Match[str] | None) -> re.Match[str]:
    if match is None:
        raise RuntimeError("NVIDIA's tools write something else than they did: what is read here must follow")
    return match


def _loop_and_rest(listing: str) -> tuple[Counter, Counter]:
    """Instructions between the farthest backward jump's target and the jump, and all others."""
    instructions, labels = [], {}
    for line in listing.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = len(instructions)
        elif instruction := re.match(r"\s*/\*[0-9a-f]+\*/\s+(.*?);", line):
            instructions.append(instruction[1])
    first, last = max(_backward_jumps(instructions, labels), key=lambda jump: jump[1] - jump[0], default=(0, 0))
    names = [re.sub(r"^@!?U?P\w+\s+", "", text).split()[0] for text in instructions]
    return Counter(names[first:last]), Counter(names[:first] + names[last:])


def _backward_jumps(instructions: list[str], labels: dict[str, int]) -> Iterator[tuple[int, int]]:
    """First and one past the last instruction of each loop; a jump to itself pads the end of a kernel."""
    for i, text in enumerate(instructions):
        target = re.search(r"\bBRA\b.*?(\.L_\w+)", text)
        if target and labels.get(target[1], i) < i:
            yield labels[target[1]], i + 1
