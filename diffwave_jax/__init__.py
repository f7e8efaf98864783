"""DiffWave and SaShiMi: diffusion models of raw speech audio in JAX."""
