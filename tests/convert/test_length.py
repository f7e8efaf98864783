import numpy as np
import pytest

from diffwave_jax.convert import length
from diffwave_jax.errors import UserError
from diffwave_jax.kernels import dplr_kernel
from tests.helpers.torch_files import MODELS, random_contents


def kernel(weights: dict, name: str, l_max: int) -> np.ndarray:
    """An S4 kernel (D, H, l_max) in float64."""
    log_dt, log_w_real, w_imag, B, P, C = (
        np.asarray(weights[f"{name}.{part}"], np.float64) for part in ("log_dt", "log_w_real", "w_imag", "B", "P", "C")
    )
    b, p, c = (pairs[..., 0] + 1j * pairs[..., 1] for pairs in (B, P, C))
    w = -np.exp(log_w_real) + 1j * w_imag
    return np.asarray(dplr_kernel(np.exp(log_dt), w, b, p, c, l_max, implementation="reference"))


@pytest.mark.parametrize("tie_state", [False, True])
@pytest.mark.parametrize("new", [16, 24, 200, 512])
def test_kernels_agree_up_to_the_shorter_length(tie_state, new):
    old = MODELS["sashimi"] | {"tie_state": tie_state}
    weights = random_contents(old).weights
    changed = length.with_lengths(weights, old, old | {"l_max": (64, new)})
    shorter = min(64, new)
    before, after = kernel(weights, "center.0.s4.kernel", 64), kernel(changed, "center.0.s4.kernel", new)
    # C is stored in float32, whose rounding (6e-8 relative) reaches the kernel through sums over the states.
    scale = np.max(np.abs(before))
    np.testing.assert_allclose(after[..., :shorter], before[..., :shorter], rtol=0, atol=1e-6 * scale)


def test_only_C_of_the_changed_stage_is_another():
    old = MODELS["sashimi"]
    weights = random_contents(old).weights
    changed = length.with_lengths(weights, old, length.per_stage(old))
    assert [name for name in weights if changed[name] is not weights[name]] == ["center.0.s4.kernel.C"]


def test_there_and_back():
    old, weights = MODELS["sashimi"], random_contents(MODELS["sashimi"]).weights
    new = length.per_stage(old)
    assert new["l_max"] == (64, 16)
    back = length.with_lengths(length.with_lengths(weights, old, new), new, old)
    # Two roundings to float32, of values up to about 2, and a solve with a condition number near 10 between them.
    np.testing.assert_allclose(back["center.0.s4.kernel.C"], weights["center.0.s4.kernel.C"], rtol=0, atol=5e-6)


def test_the_single_length_is_the_largest():
    assert length.single_length({"name": "sashimi", "l_max": (64, 16)})["l_max"] == 64
    assert length.single_length({"name": "diffwave"}) == {"name": "diffwave"}


def test_diffwave_has_no_kernels():
    with pytest.raises(UserError, match="this is a diffwave"):
        length.per_stage(MODELS["diffwave"])
