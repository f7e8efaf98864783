"""The same run on one device, on eight, and on two processes of four."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.training_ahead import collectives, compile_step
from diffwave_jax.distributed import Cluster, joined
from diffwave_jax.errors import UserError
from diffwave_jax.models import weights
from diffwave_jax.training.feed import data_mesh
from diffwave_jax.training.tasks import make_task
from tests.helpers.events import curves
from tests.helpers.runs import Job, Signals, free_port, saved, tiny_config

ROOT = Path(__file__).parents[2]
STEPS = 20
# Float32 sums in another order differ by about 1e-7; 20 steps of Adam at the recipe's rate must not let that grow.
SAME = 1e-6


def _config(clips, **train):
    train = {"learning_rate": 2e-4, "schedule": "constant", "num_steps": STEPS, **train}
    return tiny_config(clips, "sashimi", **train)


def _losses(recorder):
    return [recorder.values[step]["loss"] for step in range(1, STEPS + 1)]


@pytest.fixture(scope="module")
def one_device(clips, processes, tmp_path_factory):
    """The losses on one device."""
    [(_, recorder)] = processes.train(Job(_config(clips), tmp_path_factory.mktemp("one") / "run"))
    return _losses(recorder)


def test_eight_devices_give_the_losses_of_one(clips, processes, one_device, tmp_path):
    [(_, eight)] = processes.train(Job(_config(clips), tmp_path / "run", devices=8))
    np.testing.assert_allclose(_losses(eight), one_device, rtol=SAME)


def _command(clips, workdir, port, process):
    """The command line of one of two processes; the config comes from a file, as a user's does."""
    config = workdir.parent / "config.py"
    config.write_text(
        f"from pathlib import Path\nfrom tests.training.test_devices import _config\n"
        f"def get_config():\n    return _config(Path({str(clips)!r}))\n"
    )
    rank = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={process}"]
    return [sys.executable, str(ROOT / "train.py"), f"--config={config}", f"--workdir={workdir}", *rank]


def test_two_processes_of_four_devices_give_the_losses_of_one(clips, processes, one_device, tmp_path):
    environment = {
        **os.environ,
        **{name.upper(): str(value) for name, value in processes.cache_settings.items()},
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    port = free_port()
    started = [
        subprocess.Popen(_command(clips, tmp_path / "run", port, i), env=environment, stdout=subprocess.PIPE, text=True)
        for i in (0, 1)
    ]
    printed = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    logged = curves(tmp_path / "run" / "tensorboard")["train/loss"]
    np.testing.assert_allclose([logged[step] for step in range(1, STEPS + 1)], one_device, rtol=SAME)
    assert "step 20" in printed[0] and "step 20" not in printed[1]  # only the first process tells


@pytest.mark.torture
def test_a_signal_to_one_process_stops_both_and_one_device_continues(clips, processes, one_device, tmp_path):
    port, config, workdir = free_port(), _config(clips), tmp_path / "run"
    clusters = [Cluster(False, f"127.0.0.1:{port}", 2, process) for process in (0, 1)]
    heard = [(), (Signals(5, signal.SIGTERM),)]
    pair = processes.train(
        *(Job(config, workdir, 4, listeners, cluster) for listeners, cluster in zip(heard, clusters, strict=True))
    )
    assert [code for code, _ in pair] == [0, 0]
    stopped = max(pair[0][1].steps)
    assert stopped == max(pair[1][1].steps) < STEPS
    assert pair[0][1].messages[-1].startswith(f"a signal to another process: saved step {stopped}")
    assert pair[1][1].messages[-1].startswith(f"SIGTERM: saved step {stopped}")
    [(_, rest)] = processes.train(Job(config, workdir))
    assert rest.messages == [f"continuing from step {stopped}"]
    losses = [(pair[0][1] if step <= stopped else rest).values[step]["loss"] for step in range(1, STEPS + 1)]
    np.testing.assert_allclose(losses, one_device, rtol=SAME)
    assert saved(workdir)["['params']['input.v']"].shape == (1, 4)


def _communication(config):
    """Collectives of the compiled step outside its loops and in all of it, with the bytes of the weights."""
    program = compile_step(config, data_mesh()).as_text()
    _, params = weights.abstract(make_task(config).build)
    return collectives(program[program.index("ENTRY") :]), collectives(program), 4 * weights.count(params)


def test_devices_exchange_gradients_and_metrics_once_and_nothing_else(clips, processes):
    config = _config(clips, batch_size=16, accumulate=2)
    outside_loops, everywhere, weight_bytes = processes.call(_communication, config, devices=8)
    metrics = 4 * 2 * len(("loss", "quartile 1", "quartile 2", "quartile 3", "quartile 4", "stop"))
    assert everywhere == outside_loops == {"all-reduce": weight_bytes + metrics}


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        (Cluster(coordinator="localhost:1"), "give all three"),
        (Cluster(detect=True, coordinator="localhost:1"), "leave out --coordinator"),
        (Cluster(coordinator="localhost:1", num_processes=2, process_id=2), "--process_id is 2"),
        (Cluster(coordinator="localhost:1", num_processes=2, process_id=1, timeout=0), "--partner_timeout is 0"),
    ],
)
def test_bad_cluster_flags_are_refused(cluster, said):
    with pytest.raises(UserError, match=said), joined(cluster):
        raise AssertionError("the block must not run")
