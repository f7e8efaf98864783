"""A network's weights as one flat dict `{dotted name: array}`."""

import functools
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from flax import nnx

from diffwave_jax.kernels.target import target

Weights = dict[str, jax.Array]
Result = TypeVar("Result")
Network = TypeVar("Network", bound=nnx.Module)


def split(network: Network) -> tuple[nnx.GraphDef[Network], Weights]:
    """The network's structure and its weights; `merge` puts them together again."""
    graph, state = nnx.split(network, nnx.Param)
    return graph, _flat(state)


def merge(graph: nnx.GraphDef[Network], weights: Mapping[str, jax.Array]) -> Network:
    """The network of structure `graph` with these weights (cheap: call it inside jitted functions)."""
    paths = {_path(name): nnx.Param(value) for name, value in weights.items()}
    return nnx.merge(graph, nnx.from_flat_state(paths))


@functools.cache  # which gives the same function the same result: `traced_once` knows it by that
def remat(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function(module, *arrays)` computed again for its gradient; unlike `nnx.remat` also under a plain `jax.jit`."""

    def call(module, *arrays):
        graph, weights = split(module)
        return jax.checkpoint(lambda weights, *arrays: function(merge(graph, weights), *arrays))(weights, *arrays)

    return call


@functools.cache
def traced_once(function: Callable[..., Result]) -> Callable[..., Result]:
    """`function(module, *arrays)` traced once for all modules that are alike, instead of once for each of them.

    What is compiled is the same: XLA puts a copy of the function where it is called. Tracing a gradient of the
    full-size SaShiMi takes a quarter of the time.
    """

    # A trace holds for one target only, which JAX does not know of.
    @functools.partial(jax.jit, static_argnums=(0, 1))
    def traced(target, graph, weights, *arrays):
        del target
        return function(merge(graph, weights), *arrays)

    return lambda module, *arrays: traced(target(), *split(module), *arrays)


def abstract(build: Callable[[nnx.Rngs], Network]) -> tuple[nnx.GraphDef[Network], dict[str, jax.ShapeDtypeStruct]]:
    """Structure and weight shapes of the network that `build(rngs)` makes, without computing any weight."""
    graph, state = nnx.split(nnx.eval_shape(lambda: build(_OneKey())), nnx.Param)
    return graph, _flat(state)


class _OneKey(nnx.Rngs):
    """The same key for every weight, where none is computed: Flax's count of keys takes seconds under a trace."""

    def __init__(self):
        super().__init__(0)
        self._key = jax.random.key(0)

    def params(self) -> jax.Array:
        return self._key


def count(weights: Mapping[str, jax.Array | jax.ShapeDtypeStruct]) -> int:
    """Number of parameters."""
    return sum(value.size for value in weights.values())


def fingerprint(weights: Mapping[str, jax.Array | np.ndarray]) -> str:
    """12 hexadecimal digits that tell these weights, with their names, from any others."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.asarray(weights[name]).tobytes())
    return digest.hexdigest()[:12]


def _flat(state: nnx.State) -> dict[str, Any]:
    """Arrays, or the shapes of arrays that there are not, by dotted name."""
    return {_dotted(path): value.get_value() for path, value in nnx.to_flat_state(state)}


def _dotted(path: tuple) -> str:
    return ".".join(str(part) for part in path)


def _path(name: str) -> tuple:
    return tuple(int(part) if part.isdigit() else part for part in name.split("."))
