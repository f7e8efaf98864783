"""DiffWave and SaShiMi: diffusion models of raw speech audio in JAX."""

from diffwave_jax.generator import Generator, load
from diffwave_jax.pretrained import load_pretrained

__all__ = ["Generator", "load", "load_pretrained"]
