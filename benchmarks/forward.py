"""How fast the full-size networks run on this machine: `python benchmarks/forward.py`.

Measures turn and turn about in one run: a plain matrix product, each network's forward on one clip and the products it
consists of, each on its own; with --gradients a training step's gradient too. A second process computes SaShiMi's S4
kernels, for its peak memory.
"""

import argparse
import collections
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from diffwave_jax.allocator import keep_freed_memory
from diffwave_jax.models import DiffWave, DiffWaveConfig, SaShiMi, SaShiMiConfig, weights
from diffwave_jax.models.compiling import jit

LENGTH = 16000
PLAIN = (LENGTH, 3 * 256, 512)  # a product the size of DiffWave's dilated convolutions
OWN_LENGTHS = (LENGTH, LENGTH // 4, LENGTH // 16)  # l_max of SaShiMi's stages where training is measured


def main() -> None:
    """Prints the figures."""
    arguments = _parse()
    keep_freed_memory()  # as the scripts do
    if arguments.only_kernels:
        _only_kernels(arguments.repeats)
        return
    print(f"jax {jax.__version__} on {jax.default_backend()}; best of {arguments.repeats}", flush=True)
    # First, because a child's peak memory starts at its parent's size.
    subprocess.run([sys.executable, __file__, "--only_kernels", f"--repeats={arguments.repeats}"], check=True)
    forwards(arguments.repeats)
    if arguments.gradients:
        gradients(arguments.repeats)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--gradients", action="store_true")
    parser.add_argument("--only_kernels", action="store_true", help="what the second process does")
    return parser.parse_args()


def forwards(repeats: int) -> None:
    """Both networks' forward, beside the plain product and beside their own products."""
    diffwave, diffwave_products = network_forward(DiffWave(DiffWaveConfig(), rngs=nnx.Rngs(0)))
    sashimi, sashimi_products = network_forward(SaShiMi(SaShiMiConfig(), rngs=nnx.Rngs(0)))
    products = collections.Counter(diffwave_products) + collections.Counter(sashimi_products)
    flop = sum(_flop(*p) for p in diffwave_products)
    times = round(flop / (2 * math.prod(PLAIN)))
    calls = {"plain": _plain(times), "diffwave": diffwave, "sashimi": sashimi} | {p: _alone(*p) for p in products}
    best = best_times(calls, repeats)
    plain_rate = times * 2 * math.prod(PLAIN) / best["plain"]
    rate = flop / best["diffwave"]
    print(f"plain product {PLAIN}, {times} times: {plain_rate / 1e9:.0f} GFLOP/s")
    print(f"DiffWave forward: {best['diffwave']:.2f} s, {rate / 1e9:.0f} GFLOP/s, {rate / plain_rate:.2f} of plain")
    alone = sum(best[p] for p in sashimi_products)
    print(f"SaShiMi forward: {best['sashimi']:.2f} s, {best['sashimi'] / alone:.2f} times its products ({alone:.2f} s)")


def _plain(times: int) -> tuple[Callable, tuple]:
    """Plain products, as many as take a forward's time: a machine's speed changes from one moment to the next."""
    product = jax.jit(jnp.matmul)

    def products(left, right):
        for _ in range(times):
            product(left, right).block_until_ready()

    return products, (_normal(PLAIN[:2]), _normal(PLAIN[1:]))


def gradients(repeats: int) -> None:
    """Both networks' gradient beside their forward."""
    networks = {
        "DiffWave, 1 clip": (1, DiffWave(DiffWaveConfig(), rngs=nnx.Rngs(0))),
        "SaShiMi, 2 clips": (2, SaShiMi(SaShiMiConfig(l_max=OWN_LENGTHS), rngs=nnx.Rngs(0))),
        "small SaShiMi, 16 clips": (16, SaShiMi(_small(), rngs=nnx.Rngs(0))),
    }
    for name, (batch, network) in networks.items():
        loss, operands = _loss(network, batch)
        best = best_times({"forward": (jit(loss), operands), "gradient": (jit(jax.grad(loss)), operands)}, repeats)
        ratio = best["gradient"] / best["forward"]
        print(f"{name}: loss {best['forward']:.2f} s, gradient {best['gradient']:.2f} s, {ratio:.1f} times")


def _small() -> SaShiMiConfig:
    """The bundled model's size."""
    return SaShiMiConfig(d_model=32, n_layers=(0, 2, 4), length=5120, l_max=(5120, 1280, 320))


def _only_kernels(repeats: int) -> None:
    graph, values = weights.split(SaShiMi(SaShiMiConfig(), rngs=nnx.Rngs(0)))
    before = _peak_gigabytes()
    kernels = jax.jit(lambda values: weights.merge(graph, values).filters())
    seconds = best_times({"kernels": (kernels, (values,))}, repeats)["kernels"]
    count = sum(len(stage) for stage in jax.eval_shape(kernels, values))
    print(f"SaShiMi's {count} kernels: {seconds:.2f} s, {_peak_gigabytes():.2f} GB at most ({before:.2f} GB before)")


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def best_times(calls: dict, repeats: int) -> dict:
    """{name: least seconds} of {name: (function, operands)}, measured turn and turn about."""
    best = dict.fromkeys(calls, math.inf)
    for repeat in range(repeats + 1):
        for name, (function, operands) in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(function(*operands))
            if repeat:  # the first time compiles
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def network_forward(network: DiffWave | SaShiMi) -> tuple[tuple[Callable, tuple], list[tuple]]:
    """The call of a forward with its filters given, and its products."""
    graph, values = weights.split(network)
    filters = jax.jit(lambda values: weights.merge(graph, values).filters())(values)
    operands = values, _normal((1, LENGTH)), jnp.zeros(1, jnp.int32), filters

    def predict(values, x, t, filters):
        return weights.merge(graph, values)(x, t, filters=filters)

    # Filters of DiffWave stand for other code, whose products cannot be seen: those of the plain network count.
    seen = operands if isinstance(network, SaShiMi) else (*operands[:3], ())
    return (jit(predict), operands), list(_products(jax.make_jaxpr(predict)(*seen).jaxpr))


def _loss(network: DiffWave | SaShiMi, batch: int) -> tuple[Callable, tuple]:
    graph, values = weights.split(network)
    x = _normal((batch, network.config.length))
    values["output2.kernel"] = jnp.ones_like(values["output2.kernel"])  # at zero no gradient would flow

    def loss(values, x, t):
        return jnp.mean(jnp.square(weights.merge(graph, values)(x, t) - x))

    return loss, (values, x, jnp.zeros(batch, jnp.int32))


def _products(jaxpr: jax.extend.core.Jaxpr) -> Iterator[tuple]:
    """(primitive, left shape, right shape, parameters) of each product and convolution in a traced function."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            left, right = (variable.aval.shape for variable in equation.invars)  # pyright: ignore[reportAttributeAccessIssue]: arrays
            yield equation.primitive, left, right, tuple(equation.params.items())
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from _products(inner)


def _alone(primitive, left: tuple, right: tuple, parameters: tuple) -> tuple[Callable, tuple]:
    call = jax.jit(lambda left, right: primitive.bind(left, right, **dict(parameters)))
    return call, (_normal(left), _normal(right))


def _flop(primitive, left: tuple, right: tuple, parameters: tuple) -> int:
    """Floating-point operations, each multiplication with its addition."""
    if primitive.name == "conv_general_dilated":
        return 2 * math.prod(left[:-1]) * math.prod(right)  # NWC with WIO: every input sample meets every tap
    contracted = dict(parameters)["dimension_numbers"][0][0]
    return 2 * math.prod(left) * math.prod(right) // math.prod(left[axis] for axis in contracted)


def _normal(shape: tuple) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))


if __name__ == "__main__":
    main()
