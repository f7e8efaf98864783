"""The whole training step of SaShiMi, compiled for a card that is not there: what it needs with and without remat.

python -m benchmarks.gpu_training_step

Needs requirements-gpu.txt, no GPU. Prints the step's device memory on an H100 at batch 16 in float32, and XLA's count
of its operations before optimisation, without the S4 kernels, which remat does not compute again.
"""

# Before jax: it sets XLA's flags.
from benchmarks.gpu_compiler import H100, Card, Compiled, compile_on, mesh  # isort: skip

from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from diffwave_jax.config import default_config, model_section
from diffwave_jax.models import weights
from diffwave_jax.training.optimizer import make_optimizer
from diffwave_jax.training.step import init_state, make_train_step, shardings
from diffwave_jax.training.tasks import make_task


def compile_step(card: Card, batch_size: int, **model) -> Compiled:
    """The full-size network unless the fields of its config, `model`, say otherwise."""
    return compile_on(card, *_step(mesh(card), batch_size, **model))


def _step(devices: Mesh, batch_size: int, **model) -> tuple:
    """The jitted step, and its arguments' shapes."""
    config = default_config()
    config.model = model_section("sashimi", **model)
    task, optimizer = make_task(config), make_optimizer(config.train)
    graph, shapes = weights.abstract(task.build)
    options = {"accumulate": config.train.accumulate, "ema_decay": config.train.ema_decay}
    step = make_train_step(task, graph, optimizer, mesh=devices, seed=0, **options)
    state = jax.eval_shape(partial(init_state, optimizer=optimizer, ema_decay=config.train.ema_decay), shapes)
    replicated, sharded = shardings(devices)
    return step, _placed(state, replicated), _placed(_batch(batch_size, config.data.length), sharded), {}


def _batch(size: int, length: int) -> dict[str, jax.ShapeDtypeStruct]:
    """What `diffwave_jax.training.tasks.Task` says a batch holds."""
    batch = {name: jax.ShapeDtypeStruct((size,), jnp.int32) for name in ("label", "index")}
    batch["stop"] = jax.ShapeDtypeStruct((size,), jnp.bool_)
    return batch | {"audio": jax.ShapeDtypeStruct((size, length), jnp.float32)}


def _placed(tree, sharding):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)


def main() -> None:
    """Prints a line each."""
    for remat in (False, True):
        size = compile_step(H100, 16, s4_implementation="triton", remat=remat).device_bytes()
        step, *arguments = _step(Mesh(jax.devices("cpu"), ("data",)), 16, remat=remat)
        operations = step.lower(*arguments).cost_analysis()["flops"]
        print(f"remat={remat}: {size / 1e9:.1f} GB, {operations / 1e12:.2f} TFLOP", flush=True)


if __name__ == "__main__":
    main()
