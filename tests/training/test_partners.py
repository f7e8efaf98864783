"""A partner that is killed, silent or never there: one line that names it, status 2, within a time limit."""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from diffwave_jax import checkpoint
from diffwave_jax.distributed import Cluster
from diffwave_jax.errors import UserError
from diffwave_jax.partners import Partners
from tests.helpers.runs import Job, Signals, free_port, saved, tiny_config

ROOT = Path(__file__).parents[2]


def _train(processes, config, workdir, *listeners):
    """The exit codes of two processes that train together."""
    port = free_port()
    clusters = [Cluster(False, f"127.0.0.1:{port}", 2, process, timeout=60) for process in (0, 1)]
    jobs = [Job(config, workdir, 1, heard, cluster) for heard, cluster in zip(listeners, clusters, strict=True)]
    return [code for code, _ in processes.train(*jobs)]


@pytest.mark.torture
def test_a_killed_partner_ends_the_other_and_the_restarted_pair_ends_with_the_same_bits(clips, processes, tmp_path):
    config = tiny_config(clips, num_steps=6, checkpoint_every=2, log_every=6)
    config.model.update(n_layers=1, channels=4)
    assert _train(processes, config, tmp_path / "whole", (), ()) == [0, 0]
    since = time.monotonic()
    killed = _train(processes, config, tmp_path / "run", (), (Signals(5, signal.SIGKILL),))
    assert killed == [2, -signal.SIGKILL]
    assert time.monotonic() - since < 60  # JAX alone: 100 s and more, then SIGABRT
    assert checkpoint.resolve(tmp_path / "run").name in ("2", "4")
    assert _train(processes, config, tmp_path / "run", (), ()) == [0, 0]
    whole, continued = saved(tmp_path / "whole", 6), saved(tmp_path / "run", 6)
    assert whole.keys() == continued.keys()
    for name in whole:
        np.testing.assert_array_equal(continued[name], whole[name], err_msg=name)


def _watch(process, count, port, timeout, after):
    """The command of a process that meets the others and then does what `after` says."""
    script = (
        "import os, time; from diffwave_jax.partners import Partners\n"
        f"p = Partners('127.0.0.1:{port}', {process}, {count}, {timeout})\nprint(p.coordinator, flush=True)\n{after}"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 2])
def test_all_others_name_a_partner_that_is_gone(victim, number):
    port = free_port()
    after = [f"os.kill(os.getpid(), {int(number)})" if process == victim else "pass" for process in range(3)]
    running = [
        _watch(process, 3, port, 3, f"time.sleep(0.5); {after[process]}; time.sleep(60)") for process in range(3)
    ]
    others = [process for place, process in enumerate(running) if place != victim]
    said = [process.communicate(timeout=60)[1] for process in others]
    running[victim].kill()
    running[victim].communicate()
    how = "has ended, or gave no sign of life for 3 s"
    again = "start all of them again, they continue from the last checkpoint"
    assert said == [f"error: process {victim} of the run {how}: {again}\n"] * 2
    assert [process.returncode for process in others] == [2, 2]


def test_partners_that_end_well_may_go_at_any_time():
    port = free_port()
    running = [_watch(process, 3, port, 2, f"time.sleep({process}); p.done(); time.sleep(0.2)") for process in range(3)]
    printed = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len({out for out, _ in printed}) == 1 and all(error == "" for _, error in printed)


def _come(port, process, heard, timeout=1.0):
    try:
        return Partners(f"127.0.0.1:{port}", process, 3, timeout)
    except UserError as error:
        heard[process] = str(error)


def _call(port):
    """A connection to the first process, from a stranger, as soon as that one listens."""
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.01)


def test_who_does_not_come_is_named():
    port, heard = free_port(), {}
    there = [threading.Thread(target=_come, args=(port, process, heard)) for process in (0, 2)]
    for thread in there:
        thread.start()
    with _call(port) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")  # is not taken for process 1
        for thread in there:
            thread.join()
    line = "process 1 of the run did not come within 1 s: was every process started?"
    assert heard == {0: line, 2: line}
    heard.clear()
    _come(port, 1, heard)
    assert heard == {1: f"process 0 of the run did not come to 127.0.0.1:{port} within 1 s: was every process started?"}


def test_a_stranger_who_says_nothing_keeps_nobody_away():
    port = free_port()
    first = _watch(0, 2, port, 30, "p.done()")
    with _call(port):
        second = _watch(1, 2, port, 30, "p.done()")
        assert [process.communicate(timeout=60)[1] for process in (first, second)] == ["", ""]
