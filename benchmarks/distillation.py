"""What distilling a full-size network takes: memory of the step on an H100 that is not there, and a step on this CPU.

    JAX_PLATFORMS=cpu python benchmarks/distillation.py --model sashimi --batch 8 --accumulate 8 --target_config FILE
    python benchmarks/distillation.py --model diffwave --batch 1 --length 2048

With `--target_config`, XLA's description of the GPU, the step is compiled for it; without, it runs here, once. The
teacher has random weights: they matter for neither.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from ml_collections import ConfigDict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training_ahead import GPU_FLAGS, compile_step, extra_output

from configs.distill import get_config
from diffwave_jax.config import default_config, model_section
from diffwave_jax.generation.generator import Generator
from diffwave_jax.kernels.target import Target, compile_for
from diffwave_jax.models import build, weights
from diffwave_jax.training.listener import Listener
from diffwave_jax.training.loop import Run
from diffwave_jax.training.teacher import with_teacher


def main() -> None:
    """Prints a line."""
    options = arguments()
    if options.target_config:  # before anything computes
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {GPU_FLAGS}"
    with tempfile.TemporaryDirectory() as folder:
        config = distillation(options, Path(folder))
        if options.target_config:
            print(compiled(config, options.target_config.read_text()))
        else:
            print(trained(config, Path(folder)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["sashimi", "diffwave"], default="sashimi")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--length", type=int, default=16000)
    parser.add_argument("--target_config", type=Path)
    return parser.parse_args()


def distillation(options: argparse.Namespace, folder: Path) -> ConfigDict:
    """The whole config of one step from a teacher of the released size."""
    teacher = default_config()
    teacher.model = model_section(options.model, length=options.length)
    teacher.data.length = options.length
    _, shapes = weights.abstract(lambda rngs: build(teacher.model, rngs=rngs))
    random = np.random.default_rng(0)
    params = {name: 0.01 * random.standard_normal(shape.shape, np.float32) for name, shape in shapes.items()}
    config = get_config()
    config.teacher = str(Generator(teacher, params).save(folder / "teacher.safetensors"))
    config.train.update(num_steps=1, warmup_steps=0, batch_size=options.batch, accumulate=options.accumulate)
    return with_teacher(config)


def compiled(config: ConfigDict, gpu: str) -> str:
    """Memory of the step for a GPU, and the seconds that compiling took."""
    topology = topologies.get_topology_desc("h100", platform="cuda", target_config=gpu, topology="1x1x1")
    start = time.monotonic()
    with compile_for(Target("cuda", (9, 0))):
        memory = compile_step(config, Mesh(np.array(topology.devices), ("data",)), ("cuda",)).memory_analysis()
    assert memory is not None
    size = memory.argument_size_in_bytes + memory.temp_size_in_bytes + extra_output(memory)
    return f"{_named(config)}: {size / 1e9:.1f} GB, compiled in {time.monotonic() - start:.0f} s"


class Loss(Listener):
    """Keeps what it is told."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """The step's loss."""
        self.loss = values["loss"]


def trained(config: ConfigDict, folder: Path) -> str:
    """The loss of one step on this machine, and the seconds that it took with compiling."""
    told, start = Loss(), time.monotonic()
    config.train.log_every = 1
    Run(config, folder / "run", [told]).train()
    return f"{_named(config)}: loss {told.loss:.4g}, {time.monotonic() - start:.0f} s on {jax.devices()[0].platform}"


def _named(config: ConfigDict) -> str:
    train = config.train
    return f"{config.model.name}, {config.model.length} samples, batch {train.batch_size} / {train.accumulate}"


if __name__ == "__main__":
    main()
