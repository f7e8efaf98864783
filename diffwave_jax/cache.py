"""The user's cache folder: prepared data, downloads, released models, compiled code."""

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE = "DIFFWAVE_JAX_CACHE"


def cache_folder() -> Path:
    """The folder that the environment variable DIFFWAVE_JAX_CACHE names, else the system's cache folder for the user.

    It is `~/.cache/diffwave_jax` on Linux, `~/Library/Caches/diffwave_jax` on macOS and
    `%LOCALAPPDATA%\\diffwave_jax\\Cache` on Windows. It need not exist yet.
    """
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_cache_path("diffwave_jax", appauthor=False)
