"""The device that a computation is traced for."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import jax


class Target(NamedTuple):
    """A platform, and an NVIDIA GPU's compute capability."""

    platform: str
    capability: tuple[int, int] = (0, 0)


_chosen: ContextVar[Target | None] = ContextVar("target", default=None)


@contextlib.contextmanager
def compile_for(target: Target) -> Iterator[None]:
    """What is traced inside is for this target, whatever devices are here: for compiling ahead of time."""
    token = _chosen.set(target)
    try:
        yield
    finally:
        _chosen.reset(token)


def target() -> Target:
    """The target that `compile_for` names, or else jax's default device."""
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    chosen_device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]: jax adds its options
    device = chosen_device or jax.default_backend()
    if isinstance(device, str):
        device = jax.local_devices(backend=device)[0]
    if device.platform not in ("gpu", "cuda"):
        return Target(device.platform)
    major, _, minor = str(getattr(device, "compute_capability", "")).partition(".")
    return Target("cuda", (int(major), int(minor))) if major.isdigit() and minor.isdigit() else Target("gpu")


def interpreted() -> bool:
    """Whether Pallas's kernels run in its interpreter."""
    return target().platform == "cpu"
