"""Which implementation suits the device that a computation is traced for."""

import contextlib
import functools
import importlib
import importlib.util
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import jax

# Each but the reference is a module here with `spectrum`, `spectrum_gradient`, `cauchy_sums`, `cauchy_gradient`.
PALLAS = ("triton", "mosaic")
IMPLEMENTATIONS = ("reference", "xla", "numba", *PALLAS)


class Target(NamedTuple):
    """A platform, and an NVIDIA GPU's compute capability."""

    platform: str
    capability: tuple[int, int] = (0, 0)


_chosen: ContextVar[Target | None] = ContextVar("target", default=None)

# From this version of jax on, Pallas's Triton backend is deprecated and Mosaic GPU is preferred.
MOSAIC_PREFERRED = (0, 11)


@contextlib.contextmanager
def compile_for(target: Target) -> Iterator[None]:
    """What is traced inside is for this target, whatever devices are here: for compiling ahead of time."""
    token = _chosen.set(target)
    try:
        yield
    finally:
        _chosen.reset(token)


def target() -> Target:
    """Of `compile_for`, or else of jax's default device."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    device = jax.config.jax_default_device or jax.default_backend()
    if isinstance(device, str):
        device = jax.local_devices(backend=device)[0]
    if device.platform not in ("gpu", "cuda"):
        return Target(device.platform)
    numbers = str(getattr(device, "compute_capability", "")).split(".")
    capable = len(numbers) == 2 and all(x.isdigit() for x in numbers)
    return Target("cuda", tuple(map(int, numbers))) if capable else Target("gpu")


def interpreted() -> bool:
    """Whether Pallas's kernels run in its interpreter."""
    return target().platform == "cpu"


def best_implementation(target: Target) -> str:
    """Pallas where jax has a backend for the card, Numba on a CPU that has POSIX threads, else XLA."""
    if target.platform == "cpu":
        return "numba" if os.name == "posix" and _imports("kernels.numba") else "xla"
    triton = target.capability >= (8, 0) and importlib.util.find_spec("jax.experimental.pallas.triton") is not None
    mosaic = target.capability >= (9, 0) and target.capability < (11, 0)
    prefer_mosaic = jax.__version_info__[:2] >= MOSAIC_PREFERRED
    if mosaic and (prefer_mosaic or not triton):
        return "mosaic"
    return "triton" if triton else "xla"


@functools.cache
def _imports(module: str) -> bool:
    """Whether it does: Numba refuses a NumPy too new for it, and where it may not write a cache."""
    try:
        importlib.import_module(module)
    except (ImportError, RuntimeError):
        return False
    return True


def choose(implementation: str | None) -> str:
    """The name of an implementation; None for the best on the present target.

    Raises:
      ValueError: there is none of that name.
    """
    name = best_implementation(target()) if implementation is None else implementation
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"implementation {name!r} is unknown: choose one of {', '.join(IMPLEMENTATIONS)}")
    return name
