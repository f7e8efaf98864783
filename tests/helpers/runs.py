"""Tiny training runs, here or in processes of their own."""

import dataclasses
import os
import random
import signal
import socket
import threading
from pathlib import Path

import jax
import numpy as np
import soundfile
from ml_collections import ConfigDict

from diffwave_jax import checkpoint
from diffwave_jax.config import default_config, model_section
from diffwave_jax.distributed import Cluster, joined
from diffwave_jax.training.listener import Listener
from diffwave_jax.training.loop import Run
from tests.helpers import forked

SIZES = {
    "diffwave": {"channels": 8, "n_layers": 3, "dilation_cycle": 3},
    "sashimi_ar": {"d_model": 4, "n_layers": (0, 1), "pool": (4,), "d_state": 8, "l_max": (256, 64)},
    "sashimi": {"d_model": 4, "n_layers": (0, 1), "pool": (4,), "d_state": 8, "l_max": 256},
}


def write_clips(folder: Path, count: int = 24) -> Path:
    """Writes clips of 256 samples of coloured noise, four of them for validation."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for i in range(count):
        soundfile.write(folder / f"{i}.wav", 0.1 * random.standard_normal(256).cumsum() / 8, 8000, subtype="FLOAT")
    (folder / "validation_list.txt").write_text("".join(f"{i}.wav\n" for i in range(4)))
    (folder / "testing_list.txt").write_text("")
    return folder


def tiny_config(clips: Path, name: str = "diffwave", **train) -> ConfigDict:
    """A run of a tiny network on those clips, with everything that training state can hold."""
    config = default_config()
    config.model = model_section(name, length=256, **SIZES[name])
    config.data.update(source="folder", archive=str(clips), data_dir=str(clips.parent / "prepared"))
    config.data.update(sample_rate=8000, length=256, shift=16, gain=(0.8, 1.2))
    config.train.update(num_steps=20, batch_size=8, learning_rate=1e-3, schedule="cosine", warmup_steps=2)
    config.train.update(clip_norm=1.0, ema_decay=0.9, log_every=1, checkpoint_every=100)
    config.train.update(train)
    return config


class Recorder(Listener):
    """Remembers what it is told."""

    def __init__(self):
        self.messages, self.steps, self.values, self.audio = [], [], {}, {}

    def message(self, text):
        self.messages.append(text)

    def step(self, step):
        self.steps.append(step)

    def scalars(self, step, values):
        self.values.setdefault(step, {}).update(values)

    def clips(self, step, audio, sample_rate):
        self.audio[step] = (audio, sample_rate)


def resumed(config: ConfigDict, workdir: Path) -> Recorder:
    """Trains on in `workdir`; what was told."""
    recorder = Recorder()
    Run(config, workdir, [recorder]).train()
    return recorder


class Signals(Listener):
    """Sends this process a signal `delay` seconds after a step."""

    def __init__(self, step: int, number: signal.Signals, delay: float = 0.0):
        self._step, self._number, self._delay = step, number, delay

    def step(self, step):
        if step == self._step:
            threading.Timer(self._delay, os.kill, (os.getpid(), self._number)).start()
            threading.Event().wait(0.05 if not self._delay else 0)


def saved(workdir: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Every array of a checkpoint, the newest unless told, by its name."""
    path = checkpoint.resolve(workdir) if step is None else workdir / "checkpoints" / str(step)
    arrays = {item: checkpoint.read_arrays(path / item) for item in ("params", "ema", "optimizer")}
    arrays["data"] = checkpoint.read_json(path / "data")["clips"]
    return {jax.tree_util.keystr(name): np.asarray(leaf) for name, leaf in jax.tree_util.tree_leaves_with_path(arrays)}


@dataclasses.dataclass(frozen=True)
class Job:
    """A run for a process of its own, on so many forced CPU devices."""

    config: ConfigDict
    workdir: Path
    devices: int = 1
    listeners: tuple[Listener, ...] = ()
    cluster: Cluster = dataclasses.field(default_factory=Cluster)


def train(job: Job) -> Recorder:
    """Runs the job, with its listeners and a recorder."""
    recorder = Recorder()
    with joined(job.cluster):
        Run(job.config, job.workdir, [recorder, *job.listeners]).train()
    return recorder


def _work(function, argument, devices: int, settings: dict, results) -> None:
    for name, value in {"jax_num_cpu_devices": devices, **settings}.items():
        jax.config.update(name, value)
    results.put(function(argument))


class Processes:
    """Works in new processes; they are forked from one that has imported everything but computed nothing.

    Args:
      cache: folder of the compiled programs that they share.
    """

    def __init__(self, cache: Path):
        self.cache_settings = {
            "jax_enable_compilation_cache": True,
            "jax_compilation_cache_dir": str(cache),
            "jax_persistent_cache_min_compile_time_secs": 0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
        self._context = forked.context()

    def train(self, *jobs: Job) -> list[tuple[int, Recorder | None]]:
        """Runs the jobs at once; each one's exit code and recorder, None if it did not finish."""
        return self._at_once(train, jobs, [job.devices for job in jobs])

    def call(self, function, argument, devices: int, code: int = 0):
        """What `function(argument)` returns in a process with so many devices, which must end with this exit code."""
        [(ended, result)] = self._at_once(function, [argument], [devices])
        assert ended == code
        return result

    def _at_once(self, function, arguments, devices):
        queues = [self._context.SimpleQueue() for _ in arguments]
        running = [
            self._context.Process(target=_work, args=(function, argument, count, self.cache_settings, queue))
            for argument, count, queue in zip(arguments, devices, queues, strict=True)
        ]
        for process in running:
            process.start()
        for process in running:
            process.join()
        results = [None if queue.empty() else queue.get() for queue in queues]
        return [(process.exitcode, result) for process, result in zip(running, results, strict=True)]


def killed_again_and_again(processes: Processes, config: ConfigDict, folder: Path, kills: int) -> None:
    """Trains in `folder/whole` uninterrupted, and in `folder/killed` through so many SIGKILLs, to their last step."""
    assert processes.train(Job(config, folder / "whole"))[0][0] == 0
    step, draw = 0, random.Random(0)
    for _ in range(kills):
        # Up to 20 ms after a step: in the next one, or while its checkpoint or the one before is being written.
        kill = Signals(step + draw.randint(2, 5), signal.SIGKILL, delay=draw.uniform(0, 0.02))
        [(code, _)] = processes.train(Job(config, folder / "killed", listeners=(kill,)))
        assert code == -signal.SIGKILL
        names = [path.name for path in (folder / "killed" / "checkpoints").iterdir()]
        step = max([int(name) for name in names if name.isdecimal()], default=0)
    assert step >= kills  # the checkpoints between the kills were used
    [(code, last)] = processes.train(Job(config, folder / "killed"))
    assert code == 0 and last.messages == [f"continuing from step {step}"]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
