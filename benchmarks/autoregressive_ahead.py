"""The program that draws samples, compiled for a device that is not there, and its predicted time a sample.

python -m benchmarks.autoregressive_ahead {h100,v5e} [--streams 1 64 1024]

h100 needs requirements-gpu.txt, v5e needs libtpu; no device. One period of 16 samples is compiled, at the size of the
paper's SC09 model. From the compiled program come the operations that are started for a sample, from the sizes of the
network the bytes that a sample must read and write and its multiply-adds. Predicted is the sum of what starting the
operations takes and of the longer of moving and computing.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PERIOD = 16


class Device(NamedTuple):
    """Peaks: bytes/s, float32 operations/s, and seconds to start an operation."""

    bandwidth: float
    operations: float
    start: float


# H100 SXM: its data sheet, and 2 us for a kernel inside a CUDA graph. v5e: its data sheet, a sixth of the bfloat16 rate
# for float32 products, which take six passes; operations follow each other within one program.
DEVICES = {"h100": Device(3.35e12, 67e12, 2e-6), "v5e": Device(819e9, 197e12 / 6, 0.5e-6)}
STARTED = ("fusion", "custom-call", "copy", "dot", "convolution", "reduce", "sort", "dynamic-update-slice", "scatter")
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%\S+ = (?:\(.*?\)|\S+) ([\w-]+)\(")
TRIPS = re.compile(r'known_trip_count":\{"n":"(\d+)"')


def main() -> None:
    """Prints a line for each number of streams."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=DEVICES)
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 64, 1024])
    options = parser.parse_args()
    compile_program = compiler(options.device)
    device = DEVICES[options.device]
    for streams in options.streams:
        compiled, shared, state = compile_program(streams)
        started = operations(compiled.as_text()) / PERIOD
        moving = (shared + traffic(state)) / device.bandwidth
        computing = streams * 2 * 950e3 / device.operations
        seconds = started * device.start + max(moving, computing)
        memory = compiled.memory_analysis()
        print(
            f"{options.device}, {streams} streams: {started:.0f} operations a sample, {1e6 * moving:.1f} us to move, "
            f"{1e6 * computing:.1f} us to compute, {memory.temp_size_in_bytes / 1e6:.1f} MB of temporaries; predicted "
            f"{1e6 * seconds:.0f} us a sample, {streams / seconds:.3g} samples/s",
            flush=True,
        )


def compiler(name: str) -> Callable:
    """A function from streams to the compiled period, the bytes of weights and constants a sample, and the state."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    if name == "h100":
        import benchmarks.gpu_compiler  # noqa: F401 - sets XLA's flags before jax is there
    import jax
    import jax.numpy as jnp
    import numpy as np
    from flax import nnx
    from jax.experimental import topologies
    from jax.sharding import Mesh, NamedSharding
    from jax.sharding import PartitionSpec as P

    from diffwave_jax.config import model_section
    from diffwave_jax.generation.autoregression import program
    from diffwave_jax.kernels.target import Target, compile_for
    from diffwave_jax.models import AutoregressiveSaShiMi, build, stepping, weights

    description = Path(__file__).parent / "targets" / "h100.txtpb"
    if name == "h100":
        options = {"platform": "cuda", "target_config": description.read_text(), "topology": "1x1x1"}
        topology, target = topologies.get_topology_desc("h100", **options), Target("cuda", (9, 0))
    else:
        topology, target = topologies.get_topology_desc("v5e:2x2", platform="tpu"), Target("tpu")
    mesh = Mesh(np.array(topology.devices[:1]), ("streams",))
    network = build(model_section("sashimi_ar"), rngs=nnx.Rngs(0))
    assert isinstance(network, AutoregressiveSaShiMi)
    constants = stepping.constants(network)
    graph, params = weights.split(network)

    def shapes(tree):
        sharding = NamedSharding(mesh, P())
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=sharding), tree)

    def compile_program(streams: int):
        state = jax.eval_shape(lambda: stepping.initial_state(network, constants, streams))
        function = program(mesh, graph, state)
        given = jax.ShapeDtypeStruct((PERIOD, streams), jnp.int32, sharding=NamedSharding(mesh, P(None, "streams")))
        uniforms = jax.ShapeDtypeStruct(given.shape, jnp.float32, sharding=given.sharding)
        with compile_for(target):
            traced = function.trace(shapes((params, constants)), shapes(state), given, uniforms, None)
        compiled = traced.lower(lowering_platforms=(target.platform,)).compile()
        return compiled, shared_bytes(network, constants), state

    return compile_program


def shared_bytes(network, constants) -> float:
    """Of weights and constants read for a sample: a stage's once in as many samples as it sees as one."""
    total = 4.0 * (network.head.kernel.size + network.embedding.embedding.size / 256)
    for stage, rate in enumerate(network.config.rates):
        width = network.config.d_model * network.config.expand**stage
        layers = len(constants[stage])
        dense = layers * (2 + 2 * network.config.ff) * width**2
        recurrences = sum(part.size for layer in constants[stage] for pair in layer[:4] for part in pair)
        pools = 2 * (4 * width * 2 * width) / 4 if stage < len(network.config.pool) else 0
        total += 4 * (dense + recurrences + pools) / rate
    return total


def traffic(state) -> float:
    """Bytes of states read and written for a sample."""
    total, level, rate = 0.0, state, 1
    stages = []
    while hasattr(level, "s4"):
        stages.insert(0, level)
        level = level.above
    for stage in stages:
        rate *= stage.queue.shape[0] if stage.queue != () else 1
        total += 2 * 4 * sum(part.size for pair in stage.s4 for part in pair) / rate
    return total


def operations(text: str) -> int:
    """Operations that a compiled program starts, those of a loop as often as it runs."""
    computations, entry = parse(text)

    def trips(line: str) -> int:
        """Of a loop, which counts up to the one number in its condition."""
        if known := TRIPS.search(line):
            return int(known[1])
        condition = computations[re.findall(r"condition=%?([\w.-]+)", line)[0]]
        return max((int(n) for one in condition for n in re.findall(r"s32\[\]\S* constant\((\d+)\)", one)), default=1)

    def count(name: str) -> int:
        total = 0
        for line in computations[name]:
            code = found[1] if (found := INSTRUCTION.match(line)) else ""
            called = re.findall(r"(?:body|to_apply)=%?([\w.-]+)", line)
            if code == "while":
                total += trips(line) * count(called[0])
            elif code == "call":
                total += count(called[0])
            else:
                total += code in STARTED
        return total

    return count(entry)


def parse(text: str) -> tuple[dict[str, list[str]], str]:
    """{computation: its lines}, and the entry's name."""
    computations, entry, name = {}, "", ""
    for line in text.splitlines():
        if start := re.match(r"^(ENTRY )?%?([\w.-]+) .*\{$", line):
            name = start[2]
            computations[name] = []
            entry = name if start[1] else entry
        elif name:
            computations[name].append(line)
    return computations, entry


if __name__ == "__main__":
    sys.exit(main())
