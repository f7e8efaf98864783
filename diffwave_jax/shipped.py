"""The configs that come with the package, by name."""

import difflib
import importlib
from pathlib import Path

from diffwave_jax.errors import UserError


def config_names() -> list[str]:
    """The names of the configs that come with the package, as `--config` takes them."""
    return sorted(path.stem for path in _folder().glob("*.py") if path.stem != "__init__")


def config_file(name: str) -> str:
    """The config file that `name` means: a path, or the name of a config that comes with the package.

    Args:
      name: what ends in `.py` or has a folder is a path and stays as it is, with a text after a colon, which goes to
        the file's `get_config`, or without.

    Raises:
      UserError: no config of that name comes with the package; or no file is at a path that has the name of one.
    """
    file, colon, rest = name.partition(":")
    path = Path(file)
    if path.suffix != ".py" and len(path.parts) <= 1:
        if file not in config_names():
            raise UserError(f"no config is called {file!r}{_meant(file)} (the path of your own ends in .py)")
        return f"{_folder() / file}.py{colon}{rest}"
    if not path.exists() and path.stem in config_names():
        raise UserError(f"no config file at {file}; did you mean --config {path.stem}, which comes with the package?")
    return name


def _folder() -> Path:
    return Path(str(importlib.import_module("diffwave_jax.configs").__file__)).parent


def _meant(name: str) -> str:
    names = config_names()
    close = difflib.get_close_matches(name, names, 1)
    return f": did you mean {close[0]}?" if close else f": there are {', '.join(names)}"
