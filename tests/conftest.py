"""In the tests every call of the library is checked against its annotations, the shapes of arrays among them."""

import os

import pytest
from jaxtyping import config, install_import_hook

from tests.helpers import checked

# Numba cannot compile a function that is checked, so the kernels' public modules are named one by one; and so are those
# of generation that take arrays, as the others take numbers and names of any kind and check them themselves.
CHECKED = (
    "diffwave_jax.kernels.cauchy",
    "diffwave_jax.kernels.dplr",
    "diffwave_jax.models",
    "diffwave_jax.diffusion",
    "diffwave_jax.generation.autoregression",
    "diffwave_jax.generation.autoregressive_generator",
    "diffwave_jax.generation.chain",
    "diffwave_jax.generation.drawing",
    "diffwave_jax.generation.diffusion_model",
    "diffwave_jax.generation.generator",
    "diffwave_jax.generation.inputs",
    "diffwave_jax.generation.samplers.schedule",
    "diffwave_jax.generation.samplers.update",
    "diffwave_jax.evaluation",
)
install_import_hook(CHECKED, f"{checked.__name__}.checked")


# What one test compiled is nothing to another one's scripts.
os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")


@pytest.fixture(scope="module")
def programs_kept(tmp_path_factory):
    """The processes that a module's tests start find there what an earlier one compiled."""
    kept = {
        "JAX_ENABLE_COMPILATION_CACHE": "true",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("programs")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in kept.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def unchecked():
    """Arguments that annotations forbid, for a test of what the library itself says of them."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
