"""The implementations of the kernels by name: what each offers, where it lies, and which one suits a device.

A fast implementation is a module with the four functions of `Backend`. It is imported when it is first used: Numba's
and Pallas's modules exist on some machines only.
"""

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable
from typing import Literal, Protocol, get_args

import jax

from diffwave_jax.kernels.coefficients import Coefficients
from diffwave_jax.kernels.forked import check_not_forked
from diffwave_jax.kernels.gpu.block_sizes import BlockSizes
from diffwave_jax.kernels.target import Target, target

Implementation = Literal["reference", "xla", "numba", "triton", "mosaic"]
IMPLEMENTATIONS: tuple[Implementation, ...] = get_args(Implementation)
PALLAS: tuple[Implementation, ...] = ("triton", "mosaic")

# From this version of jax on, Pallas's Triton backend is deprecated and Mosaic GPU is preferred.
MOSAIC_PREFERRED = (0, 11)


class Backend(Protocol):
    """A fast implementation, in float32. Gradients are `dL / d real + i dL / d imaginary` where numbers are complex."""

    def spectrum(self, coefficients: Coefficients, length: int, sizes: BlockSizes | None = None) -> jax.Array:
        """Spectra (D, H, nodes) complex64 at the `length // 2 + 1` nodes; `sizes` are for Pallas alone."""
        ...

    def spectrum_gradient(
        self, coefficients: Coefficients, length: int, gradient: jax.Array, sizes: BlockSizes | None = None
    ) -> Coefficients:
        """The coefficients' gradient, from that of the spectra, (D, H, nodes)."""
        ...

    def cauchy_sums(self, rows: jax.Array, z_real: jax.Array, z_imaginary: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Real and imaginary part (H, L) of the sums, from the rows (H, 4, M) of `cauchy_math.Poles` and L nodes."""
        ...

    def cauchy_gradient(
        self,
        rows: jax.Array,
        z_real: jax.Array,
        z_imaginary: jax.Array,
        to_real: jax.Array,
        to_imaginary: jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The gradients of the rows and of both parts of the nodes, from those of both parts of the sums, (H, L)."""
        ...


def _xla() -> Backend:
    from diffwave_jax.kernels import xla

    return xla


def _numba() -> Backend:
    from diffwave_jax.kernels.cpu import numba

    return numba


def _triton() -> Backend:
    from diffwave_jax.kernels.gpu import triton

    return triton


def _mosaic() -> Backend:
    from diffwave_jax.kernels.gpu import mosaic

    return mosaic


_LOAD: dict[Implementation, Callable[[], Backend]] = {
    "xla": _xla,
    "numba": _numba,
    "triton": _triton,
    "mosaic": _mosaic,
}


def backend(name: Implementation) -> Backend:
    """The fast implementation of this name; "reference" is none."""
    return _LOAD[name]()


def choose(name: Implementation | None, *, gradient: bool = True) -> Implementation:
    """The name of an implementation; None stands for the best one on the present target.

    Args:
      name: an implementation's, or None.
      gradient: whether it is for values with their gradient, as every training step needs them. Values alone are made
        once for many clips: Numba's compiler would take longer than it saves.

    Raises:
      ValueError: there is none of that name.
      RuntimeError: this process was forked from one that had used JAX, so that XLA would hang.
    """
    check_not_forked()
    if name is None:
        return best_implementation(target(), gradient=gradient)
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"implementation {name!r} is unknown: choose one of {', '.join(IMPLEMENTATIONS)}")
    return name


def best_implementation(target: Target, *, gradient: bool = True) -> Implementation:
    """Pallas where jax has a backend for the card, Numba for gradients on a CPU that has POSIX threads, else XLA."""
    if target.platform == "cpu":
        return "numba" if gradient and os.name == "posix" and _numba_works() else "xla"
    triton = target.capability >= (8, 0) and importlib.util.find_spec("jax.experimental.pallas.triton") is not None
    mosaic = (9, 0) <= target.capability < (11, 0)
    prefer_mosaic = jax.__version_info__[:2] >= MOSAIC_PREFERRED
    if mosaic and (prefer_mosaic or not triton):
        return "mosaic"
    return "triton" if triton else "xla"


@functools.cache
def _numba_works() -> bool:
    """Whether Numba's kernels can be used here; if not, it is said once.

    Numba refuses a NumPy too new for it, and its compiler can be switched off; XLA may have another version of the
    interface than the kernels are written for.
    """
    try:
        from diffwave_jax.kernels.cpu import numba

        numba.check()
    except (ImportError, RuntimeError) as error:
        message = " ".join(str(error).split())
        warnings.warn(f"the xla kernels are used, numba's do not work here: {message}", RuntimeWarning, stacklevel=2)
        return False
    return True
