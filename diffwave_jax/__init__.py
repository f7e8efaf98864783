"""DiffWave and SaShiMi: networks that generate raw speech audio, in JAX.

import diffwave_jax

model = diffwave_jax.load_pretrained()
clips = model.generate(16, seed=0)
"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffwave_jax.errors import UserError
    from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
    from diffwave_jax.generation.generator import Generator
    from diffwave_jax.generation.loading import load
    from diffwave_jax.generation.settings import Settings
    from diffwave_jax.pretrained import list_pretrained, load_pretrained

__all__ = [
    "AutoregressiveGenerator",
    "Generator",
    "Settings",
    "UserError",
    "__version__",
    "list_pretrained",
    "load",
    "load_pretrained",
]
__version__ = "0.1.0"

# Where each name is defined. It is imported when it is first used, so that a part of the package, such as
# `diffwave_jax.kernels`, does not wait for the others.
_HOMES = {
    "AutoregressiveGenerator": "diffwave_jax.generation.autoregressive_generator",
    "Generator": "diffwave_jax.generation.generator",
    "Settings": "diffwave_jax.generation.settings",
    "UserError": "diffwave_jax.errors",
    "list_pretrained": "diffwave_jax.pretrained",
    "load": "diffwave_jax.generation.loading",
    "load_pretrained": "diffwave_jax.pretrained",
}

# In a clone, `kernels` here is a symbolic link to the folder at the repository's top. Where the system made no link of
# it, the folder is found there.
if not os.path.isdir(os.path.join(__path__[0], "kernels")):
    __path__.append(os.path.dirname(__path__[0]))


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
