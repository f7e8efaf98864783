"""What a full-size training step needs on devices that are not there: memory, communication, XLA's time estimate.

    python benchmarks/training_ahead.py --target cpu --model sashimi --batch 1,4,16 --dtype float32 --remat 0,1
    python benchmarks/training_ahead.py --target h100 --hosts 2 --model sashimi --batch 12
    python benchmarks/training_ahead.py --table

Each combination is compiled once and its figures are appended to `benchmarks/results/training_ahead.jsonl`; those that
are there already are passed over. The targets: `cpu` (this machine), `h100` (needs jax[cuda13] and the target's
description as `--target_config`), `v5e` (8 chips; needs libtpu). Set JAX_PLATFORMS=cpu for all of them. Batches are per
device. SaShiMi's l_max is one per stage, (16000, 4000, 1000).
"""

import argparse
import itertools
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax.config import default_config, model_section
from diffwave_jax.kernels.target import Target, compile_for
from diffwave_jax.models import weights
from diffwave_jax.training.optimizer import make_optimizer
from diffwave_jax.training.step import init_state, make_train_step, shardings
from diffwave_jax.training.tasks import make_task

RESULTS = Path(__file__).parent / "results" / "training_ahead.jsonl"
GPU_FLAGS = "--xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0"  # no device to tune on
KEYS = ("target", "devices", "model", "batch", "dtype", "remat")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "f64": 8, "c64": 8}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=["cpu", "h100", "v5e"], default="cpu")
    parser.add_argument("--target_config", type=Path, help="h100: XLA's description of the GPU")
    parser.add_argument("--hosts", type=int, default=0, help="h100: hosts of 8 GPUs; 0 for one GPU")
    parser.add_argument("--model", default="sashimi,diffwave")
    parser.add_argument("--batch", default="1,4,16")
    parser.add_argument("--dtype", default="float32,bfloat16")
    parser.add_argument("--remat", default="0,1")
    parser.add_argument("--table", action="store_true", help="print what was measured and leave")
    return parser.parse_args()


def main():
    """Compiles what is asked for and not known yet."""
    args = arguments()
    if args.table:
        return print("\n".join(table(load())))
    if args.target == "h100":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {GPU_FLAGS}"
    devices = target_devices(args)
    known = {tuple(row[key] for key in KEYS) for row in load()}
    choices = (args.model.split(","), map(int, args.batch.split(",")), args.dtype.split(","))
    for model, batch, dtype, remat in itertools.product(*choices, [bool(int(r)) for r in args.remat.split(",")]):
        case = dict(zip(KEYS, (args.target, len(devices), model, batch, dtype, remat), strict=True))
        if tuple(case.values()) not in known:
            row = case | measured(devices, case)
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a") as file:
                print(json.dumps(row), file=file)
            print(row, flush=True)


def load() -> list[dict]:
    """All rows measured so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def target_devices(args: argparse.Namespace) -> list:
    """The devices to compile for."""
    if args.target == "cpu":
        return jax.devices()[:1]
    if args.target == "v5e":
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        return list(topologies.get_topology_desc("v5e:2x4", platform="tpu").devices)
    gpu = args.target_config.read_text()
    shape = f"1x{args.hosts}x8" if args.hosts else "1x1x1"
    return list(topologies.get_topology_desc("h100", platform="cuda", target_config=gpu, topology=shape).devices)


def measured(devices: list, case: dict) -> dict:
    """Bytes a device, bytes through collectives, XLA's estimates, and the time that compiling took."""
    start = time.monotonic()
    target = {"cpu": Target("cpu"), "h100": Target("cuda", (9, 0)), "v5e": Target("tpu")}[case["target"]]
    with compile_for(target):
        compiled = compile_step(full_size(case), Mesh(np.array(devices), ("data",)), (target.platform,))
    memory, cost, program = compiled.memory_analysis(), compiled.cost_analysis() or {}, compiled.as_text()
    if memory is None or program is None:
        raise RuntimeError("this compiler does not say what memory a program needs")
    return {
        "peak_bytes": memory.argument_size_in_bytes + memory.temp_size_in_bytes + extra_output(memory),
        "temp_bytes": memory.temp_size_in_bytes,
        "collectives": collectives(program),
        "optimal_seconds": cost.get("optimal_seconds"),
        "flops": cost.get("flops"),
        "compile_seconds": round(time.monotonic() - start, 1),
    }


def compile_step(config: ConfigDict, mesh: Mesh, platforms: Sequence[str] | None = None) -> jax.stages.Compiled:
    """The step of a run with this config, compiled but not run.

    Args:
      config: the run's config; `train.batch_size` is over all devices.
      mesh: one axis, "data"; its devices may be compile-only ones (`jax.experimental.topologies`).
      platforms: what to lower for if it is not the default backend: ("cuda",) or ("tpu",).
    """
    task, optimizer, train = make_task(config), make_optimizer(config.train), config.train
    graph, params = weights.abstract(task.build)
    fields = {"mesh": mesh, "seed": config.seed, "accumulate": train.accumulate, "ema_decay": train.ema_decay}
    step = make_train_step(task, graph, optimizer, **fields)
    state = jax.eval_shape(lambda p: init_state(p, optimizer, train.ema_decay), params)
    replicated, sharded = shardings(mesh)
    batch, constants = _batch(config, task.needs_data), jax.eval_shape(task.constants)
    arguments = _placed(state, replicated), _placed(batch, sharded), _placed(constants, replicated)
    return step.trace(*arguments).lower(lowering_platforms=platforms).compile()


def collectives(program: str) -> dict[str, int]:
    """Bytes that a compiled program's text sends through each kind of collective operation, once through."""
    found = Counter()
    # An asynchronous operation is a start, whose result holds operands as well, and a done with the bare result.
    for shapes, operation in re.findall(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-done)?\(", program):
        found[operation] += _bytes(shapes)
    return dict(found)


def _bytes(shapes: str) -> int:
    total = 0
    for dtype, dimensions in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
        size = BYTES[dtype]
        for dimension in filter(None, dimensions.split(",")):
            size *= int(dimension)
        total += size
    return total


def _batch(config: ConfigDict, with_audio: bool) -> dict[str, jax.ShapeDtypeStruct]:
    size = config.train.batch_size
    scalars = {"label": jnp.int32, "index": jnp.int32, "stop": jnp.bool_}
    batch = {name: jax.ShapeDtypeStruct((size,), dtype) for name, dtype in scalars.items()}
    return batch | ({"audio": jax.ShapeDtypeStruct((size, config.data.length), jnp.float32)} if with_audio else {})


def _placed(tree, sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def extra_output(memory) -> int:
    """Output that does not take the place of an argument."""
    return memory.output_size_in_bytes - memory.alias_size_in_bytes


def full_size(case: dict):
    """The released configuration at this batch a device."""
    config = default_config()
    lengths = {"l_max": (16000, 4000, 1000)} if case["model"] == "sashimi" else {}
    config.model = model_section(case["model"], dtype=case["dtype"], remat=case["remat"], **lengths)
    config.train.batch_size = case["batch"] * case["devices"]
    return config


def table(rows: list[dict]) -> list[str]:
    """Markdown: peak GB by target, model, dtype and remat, one column a batch."""
    batches = sorted({row["batch"] for row in rows})
    lines = ["| target | devices | model | dtype | remat | " + " | ".join(f"batch {b}" for b in batches) + " |"]
    lines.append("|" + " --- |" * (5 + len(batches)))
    kinds = sorted({tuple(row[key] for key in KEYS if key != "batch") for row in rows}, key=str)
    for kind in kinds:
        mine = {row["batch"]: row for row in rows if tuple(row[key] for key in KEYS if key != "batch") == kind}
        cells = [f"{mine[b]['peak_bytes'] / 1e9:.1f}" if b in mine else "" for b in batches]
        target, devices, model, dtype, remat = kind
        lines.append(f"| {target} | {devices} | {model} | {dtype} | {'yes' if remat else 'no'} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
