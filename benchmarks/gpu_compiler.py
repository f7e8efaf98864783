"""Compiles for NVIDIA GPUs that are not there, and keeps the PTX of our kernels.

Import it before jax: XLA reads its flags once. Needs requirements-gpu.txt; no GPU.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

_DUMP = Path(tempfile.mkdtemp(prefix="gpu_compiler_"))
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["MOSAIC_GPU_DUMP_TO"] = str(_DUMP)
# Without a device XLA cannot tune its own matrix products: it fails on odd shapes unless told not to try.
os.environ["XLA_FLAGS"] = f"--xla_dump_to={_DUMP} --xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import Mesh  # noqa: E402

from diffwave_jax.kernels.backends import Implementation  # noqa: E402
from diffwave_jax.kernels.target import Target, compile_for  # noqa: E402


class Card(NamedTuple):
    """A GPU: XLA's description of it (a file of `benchmarks/targets`), compute capability, and peaks.

    Peaks: sustained clock (Hz) under this load, memory bandwidth (bytes/s); every multiprocessor issues 4 warps'
    instructions a cycle.
    """

    name: str
    capability: tuple[int, int]
    architecture: str
    multiprocessors: int
    clock: float
    bandwidth: float
    implementations: tuple[Implementation, ...]


H100 = Card("h100", (9, 0), "sm_90a", 132, 1.7e9, 3.35e12, ("triton", "mosaic"))
A100 = Card("a100", (8, 0), "sm_80", 108, 1.41e9, 2.04e12, ("triton",))
CARDS = (H100, A100)


class Compiled(NamedTuple):
    """An executable, and the files of PTX that its compilation left."""

    executable: jax.stages.Compiled
    ptx: list[Path]

    def memory(self) -> Any:
        """The bytes of arguments, results and temporaries, as jax names them."""
        memory = self.executable.memory_analysis()
        if memory is None:
            raise RuntimeError("this compiler does not say what memory a program needs")
        return memory

    def device_bytes(self) -> int:
        """Peak on the device: arguments, results and temporaries, what they share counted once."""
        memory = self.memory()
        return (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )


def mesh(card: Card) -> Mesh:
    """One compile-only device, its axis named "data"."""
    description = (Path(__file__).parent / "targets" / f"{card.name}.txtpb").read_text()
    topology = topologies.get_topology_desc(card.name, platform="cuda", target_config=description, topology="1x1x1")
    return Mesh(np.array(topology.devices), ("data",))


def compile_on(card: Card, function: Callable, *arguments) -> Compiled:
    """`function`, jitted or not, for arguments given as `jax.ShapeDtypeStruct`s with shardings of `mesh(card)`."""
    with _new_files() as ptx:
        with compile_for(Target("cuda", card.capability)):
            traced = (function if hasattr(function, "trace") else jax.jit(function)).trace(*arguments)
        executable = traced.lower(lowering_platforms=("cuda",)).compile()
    return Compiled(executable, ptx)


@contextlib.contextmanager
def _new_files() -> Iterator[list[Path]]:
    before, found = set(_DUMP.glob("*.ptx")), []
    yield found
    found += sorted(set(_DUMP.glob("*.ptx")) - before)
