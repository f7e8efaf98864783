"""Trains a model: python train.py --config configs/sashimi.py --workdir runs/sashimi [--config.field=value ...]."""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from diffwave_jax import cli
from diffwave_jax.training.loop import Run

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment: a file of configs/.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; a run that is already there continues.")


def main(_):
    """Trains to the end, or until asked to stop."""
    Run(CONFIG.value, Path(WORKDIR.value), [cli.Console(CONFIG.value.train.num_steps)]).train()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    cli.run(main)
