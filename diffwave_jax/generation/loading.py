"""Checkpoints as loaded models: of what kind, the config says."""

from pathlib import Path

from diffwave_jax import checkpoint, hub
from diffwave_jax.config import from_dict
from diffwave_jax.errors import UserError
from diffwave_jax.generation.autoregressive_generator import AutoregressiveGenerator
from diffwave_jax.generation.generator import Generator

Model = Generator | AutoregressiveGenerator
KINDS = {"sashimi_ar": AutoregressiveGenerator}  # by the name of the config's network; of all others, `Generator`


def load(path: str | Path, *, ema: bool = True) -> Model:
    """The model of a checkpoint: a run's folder, its `checkpoints` folder or one step of it, or one file.

    Args:
      path: the folder; the file that `model.save` wrote; or `hf://owner/name`, a model on the Hugging Face Hub.
      ema: use the EMA weights where the checkpoint has them, else the raw ones.

    Returns:
      What the config's network makes of it: `Generator` for DiffWave and SaShiMi, `AutoregressiveGenerator` for
      autoregressive SaShiMi.

    Raises:
      UserError: no checkpoint there, or not one that can be read.
    """
    saved = checkpoint.load(hub.fetch(str(path)) if hub.is_address(str(path)) else path, ema=ema)
    config = from_dict(saved.config)
    return KINDS.get(config.model.name, Generator)(config, saved.weights)


def load_diffusion(path: str | Path, *, ema: bool = True) -> Generator:
    """The model of a checkpoint, which must be a diffusion model; arguments and errors as `load`."""
    model = load(path, ema=ema)
    if not isinstance(model, Generator):
        raise UserError(f"{path} holds an autoregressive model, where a diffusion model is asked for")
    return model
