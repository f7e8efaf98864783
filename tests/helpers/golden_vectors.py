"""The golden vectors and their networks, for tests."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from diffwave_jax.config import default_config, model_section
from diffwave_jax.generation.generator import Generator
from diffwave_jax.models import DiffWave, SaShiMi, build, weights

FOLDER = Path(__file__).parents[1] / "golden"
MODELS = {
    "sashimi_tiny": model_section("sashimi", d_model=16, n_layers=2, l_max=1024, length=1024),
    "diffwave_tiny": model_section("diffwave", channels=16, n_layers=6, dilation_cycle=3, length=1024),
    "vocoder_lmnt_tiny": model_section(
        "diffwave",
        channels=16,
        n_layers=7,
        dilation_cycle=3,
        length=1024,
        weight_norm=False,
        step_in_residual=False,
        step_table=50,
        step_widths=(128, 64, 64),
        n_mels=80,
        shared_upsampler=True,
    ),
    "vocoder_ag_sashimi_resume": model_section(
        "sashimi",
        version=2,
        d_model=8,
        n_layers=1,
        pool=(2, 4),
        l_max=(1024, 512, 128),
        length=1024,
        step_widths=(128, 32, 32),
        n_mels=80,
        crop_condition=True,
    ),
}


def golden(tag: str) -> dict[str, np.ndarray]:
    """The vectors of one network."""
    return dict(np.load(FOLDER / f"{tag}.npz"))


def golden_weights(tag: str) -> dict[str, np.ndarray]:
    """Its weights."""
    return dict(np.load(FOLDER / f"{tag}_weights.npz"))


def golden_network(tag: str) -> SaShiMi | DiffWave:
    """The network itself."""
    graph, _ = weights.abstract(lambda rngs: build(MODELS[tag], rngs=rngs))
    return weights.merge(graph, {name: jnp.asarray(array) for name, array in golden_weights(tag).items()})


def golden_generator(tag: str, beta: np.ndarray | None = None) -> Generator:
    """The network as a loaded model, under the released schedule or a linear one between beta's ends."""
    config = default_config()
    config.model = MODELS[tag]
    config.data.length = 1024
    if beta is not None:
        config.diffusion.update(num_steps=len(beta), beta_min=float(beta[0]), beta_max=float(beta[-1]))
    return Generator(config, golden_weights(tag))


def golden_vocoder(tag: str) -> Generator:
    """A vocoder as a loaded model, with the front end, the diffusion and the sampler of its original."""
    config = default_config()
    config.model = MODELS[tag]
    config.data.update(length=1024, sample_rate=22050)
    config.diffusion.update(num_steps=50, beta_max=0.05)
    is_lmnt = tag == "vocoder_lmnt_tiny"
    config.mel.update(kind="lmnt", fmin=20.0, fmax=0.0) if is_lmnt else config.mel.update(kind="tacotron")
    config.sample.update(sampler="fast", clamp=1.0 if is_lmnt else 0.0)
    return Generator(config, golden_weights(tag))
