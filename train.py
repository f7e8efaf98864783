"""Trains a model: python train.py --config configs/sashimi.py --workdir runs/sashimi [--config.field=value ...]."""

from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from diffwave_jax import cli
from diffwave_jax.allocator import keep_freed_memory
from diffwave_jax.distributed import Cluster, join
from diffwave_jax.training.loop import Run
from diffwave_jax.training.tensorboard import TensorBoard

CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment: a file of configs/.", lock_config=True)
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; a run that is already there continues.")
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of many processes, found as SLURM, TPU or GKE say.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "One of many processes: HOST:PORT of the first one.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many processes there are.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which one this is, from 0.")


def main(_):
    """Trains to the end, or until asked to stop."""
    keep_freed_memory()
    join(Cluster(DISTRIBUTED.value, COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value))
    config, workdir = CONFIG.value, Path(WORKDIR.value)
    listeners = []
    if jax.process_index() == 0:
        listeners = [cli.Console(config.train.num_steps), TensorBoard(workdir / "tensorboard")]
    Run(config, workdir, listeners).train()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    cli.run(main)
