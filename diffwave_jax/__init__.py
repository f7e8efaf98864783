"""DiffWave and SaShiMi: diffusion models of raw speech audio in JAX."""

from diffwave_jax.generator import Generator, load

__all__ = ["Generator", "load"]
