"""Trains a model: python train.py --config sashimi [--workdir DIR] [--config.SECTION.FIELD=VALUE ...].

The same command continues a run that was stopped. With --config, --help shows that config's fields.
"""

import contextlib
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from diffwave_jax import cli
from diffwave_jax.allocator import keep_freed_memory
from diffwave_jax.config import to_dict
from diffwave_jax.distributed import Cluster, joined
from diffwave_jax.doing import telling
from diffwave_jax.errors import UserError, printable
from diffwave_jax.pretrained import found
from diffwave_jax.training.loop import Run
from diffwave_jax.training.teacher import with_teacher
from diffwave_jax.training.tracker import LIBRARIES, Tracker

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment: the name of a config that comes along, or a file.", lock_config=True
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run, runs/NAME for configs/NAME.py; a run that is already there continues."
)
DISTRIBUTED = flags.DEFINE_bool("distributed", False, "One of many processes, found as SLURM, TPU or GKE say.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "One of many processes: HOST:PORT of the first one.")
NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many processes there are.")
PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which one this is, from 0.")
PARTNER_TIMEOUT = flags.DEFINE_integer(
    "partner_timeout", 100, "One of many processes: seconds without a sign of life from another before this one ends."
)

REPORT_TO = flags.DEFINE_enum(
    "report_to",
    None,
    LIBRARIES,
    "Log to Weights & Biases (wandb) or trackio too; TensorBoard's files are always written.",
)


def main(_):
    """Trains to the end, or until asked to stop."""
    if CONFIG.value is None:
        raise UserError("no config: give --config NAME or FILE, for example --config small; --help lists the flags")
    keep_freed_memory()
    processes = (NUM_PROCESSES.value, PROCESS_ID.value)
    with joined(Cluster(DISTRIBUTED.value, COORDINATOR.value, *processes, PARTNER_TIMEOUT.value)):
        config, workdir = with_model(CONFIG.value), Path(WORKDIR.value or default_workdir())
        listeners, tell = [], contextlib.nullcontext()
        if jax.process_index() == 0:
            print(f"workdir: {printable(workdir)}", flush=True)
            from diffwave_jax.training.tensorboard import TensorBoard  # takes seconds where torch is installed

            console = cli.Console(config.train.num_steps)
            listeners, tell = [console, TensorBoard(workdir / "tensorboard")], telling(console.doing)
            if REPORT_TO.value:
                listeners.append(Tracker(REPORT_TO.value, workdir.name, to_dict(config)))
        with tell:
            Run(config, workdir, listeners).train()


def with_model(config: ConfigDict) -> ConfigDict:
    """The config, with paths for names of pretrained models; a distillation's gets its model from its teacher."""
    config.train.init_from = _path(config.train.init_from)
    if config.train.task != "distillation":
        return config
    with config.unlocked():
        config.teacher = _path(config.teacher)
    return with_teacher(config)


def _path(model: str) -> str:
    """The checkpoint of a run or a pretrained model; "" for none."""
    return str(found(model)) if model else ""


def default_workdir() -> Path:
    """The folder `runs/NAME` of the config file `NAME.py`."""
    return Path("runs") / Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem


def command() -> None:
    """Runs on the process's command line."""
    cli.run(main)
