"""The autoregressive golden vectors, their checkpoints under the originals' names, and their networks."""

import functools
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from diffwave_jax.config import default_config, model_section
from diffwave_jax.convert.autoregressive import Converted, convert
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.models import AutoregressiveSaShiMi, build, weights
from tests.helpers.torch_files import golden_folder

FOLDER = Path(__file__).parents[1] / "golden"
TAGS = ("ar_rf5_tiny", "ar_s4v2_tiny", "ar_s4v3_tiny", "ar_s4v3_unet_tiny", "ar_s4v4_tiny")


@functools.cache
def golden(tag: str) -> dict[str, np.ndarray]:
    """The vectors of one network."""
    return dict(np.load(FOLDER / f"{tag}.npz"))


@functools.cache
def at_hand(tag: str) -> dict[str, np.ndarray]:
    """All of them, where the reference files lie beside the project, else those of `golden`.

    Logits at the ends of clips are `logits_last` and `long_logits_last` in both, of more positions or fewer.
    """
    folder = golden_folder()
    file = folder / "ar" / f"{tag}.npz" if folder else None
    vectors = dict(np.load(file)) if file and file.exists() else golden(tag)
    return {re.sub(r"_last\d+$", "_last", name): array for name, array in vectors.items()}


@functools.cache
def checkpoint(tag: str) -> dict[str, np.ndarray]:
    """Its tensors under the original's names."""
    return dict(np.load(FOLDER / f"{tag}_weights.npz"))


@functools.cache
def converted(tag: str) -> Converted:
    """Its config and weights as ours; the one of version 4 was trained by that version's programs."""
    return convert(checkpoint(tag), dt="softplus" if tag == "ar_s4v4_tiny" else None)


def golden_network(tag: str) -> AutoregressiveSaShiMi:
    """The network itself."""
    found = converted(tag)
    graph, _ = weights.abstract(lambda rngs: build(found.model, rngs=rngs))
    network = weights.merge(graph, {name: jnp.asarray(value) for name, value in found.weights.items()})
    assert isinstance(network, AutoregressiveSaShiMi)
    return network


@functools.cache
def golden_generator(tag: str, implementation: str | None = None) -> AutoregressiveGenerator:
    """The network as a loaded model, with these kernels; None for the best ones."""
    found = converted(tag)
    config = default_config()
    fields = dict(found.model)
    config.model = model_section(fields.pop("name"), **fields)
    config.data.length = config.model.length
    config.model.s4_implementation = implementation
    return AutoregressiveGenerator(config, found.weights)
