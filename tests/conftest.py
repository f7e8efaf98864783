"""In the tests every call of the library is checked against its annotations, the shapes of arrays among them."""

import pytest
from jaxtyping import config, install_import_hook

# Numba cannot compile a function that is checked, so the kernels' public modules are named one by one.
CHECKED = (
    "diffwave_jax.kernels.cauchy",
    "diffwave_jax.kernels.dplr",
    "diffwave_jax.models",
    "diffwave_jax.diffusion",
    "diffwave_jax.evaluation",
)
install_import_hook(CHECKED, "beartype.beartype")


@pytest.fixture
def unchecked():
    """Arguments that annotations forbid, for a test of what the library itself says of them."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
