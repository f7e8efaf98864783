"""The original's reverse process, number for number: its networks, its start noise, its noise at every step."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from diffwave_jax import samplers
from diffwave_jax.config import default_config, model_section
from diffwave_jax.convert.from_torch import read_torch
from diffwave_jax.diffusion import Diffusion
from diffwave_jax.generator import Generator
from diffwave_jax.samplers import State
from tests.samplers.analytic import rows


def golden_folder() -> Path | None:
    """The folder of golden vectors beside the project, if there is one."""
    root = Path(__file__).resolve().parents[2]
    named = [Path(os.environ["DIFFWAVE_SHARED"])] if "DIFFWAVE_SHARED" in os.environ else []
    folders = [folder / "golden" for folder in (*named, root.parent / "shared", root.parents[1] / "shared")]
    return next((folder for folder in folders if folder.is_dir()), None)


GOLDEN = golden_folder()
W_STEP = 5  # the golden w is the state just after this step's update


@pytest.mark.skipif(GOLDEN is None, reason="no golden vectors beside the project")
@pytest.mark.parametrize(("name", "tolerance"), [("sashimi_tiny", 1e-4), ("diffwave_tiny", 1e-5)])
def test_ancestral_sampling_is_the_original_reverse_process(name, tolerance):
    # 4e-5 and 3e-6 were found: 20 float32 network evaluations, each off by up to 1e-5 (SaShiMi) or 5e-7 (DiffWave).
    golden = np.load(GOLDEN / f"{name}.npz")
    contents = read_torch(GOLDEN / f"{name}.pt", length=1024, dilation_cycle=3, optimizer=False)
    config = default_config()
    fields = {key: value for key, value in contents.model.items() if key != "name"}
    config.model = model_section(contents.model["name"], **fields)
    diffusion = Diffusion.linear(int(golden["sample_T"]), golden["sample_beta_0"], golden["sample_beta_T"])
    generator = Generator(config, contents.weights)

    state = State(golden["sample_z"], np.zeros_like(golden["sample_z"]))
    for row in rows(samplers.plan(diffusion, "ddpm")):
        t = int(row.timestep)
        predicted = generator.predict_noise(jnp.asarray(state.x, jnp.float32), jnp.full((2,), t))
        state = samplers.step(row, state, np.asarray(predicted), golden["sample_noise"][t])
        if t == W_STEP:
            np.testing.assert_allclose(state.x, golden["sample_w_at_5"], atol=tolerance)
    np.testing.assert_allclose(state.x, golden["sample_x0"], atol=tolerance)
