"""Two processes that train one run together, from the command line."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.helpers.runs import Processes, free_port

ROOT = Path(__file__).parents[2]


class Pair:
    """Starts the pair, kills one of it, and knows how the other must end.

    Args:
      clips: from `write_clips`.
      folder: for the config and the run.
      processes: whose compiled programs they share.
      train: changed fields of the config's section.
    """

    def __init__(self, clips: Path, folder: Path, processes: Processes, **train):
        folder.mkdir(exist_ok=True)
        self.workdir = folder / "run"
        self._config = folder / "config.py"
        self._config.write_text(
            f"from pathlib import Path\nfrom tests.helpers.runs import tiny_config\ndef get_config():\n"
            f"    return tiny_config(Path({str(clips)!r}), log_every=1, **{train!r})\n"
        )
        settings = {name.upper(): str(value) for name, value in processes.cache_settings.items()}
        self._environment = {**os.environ, **settings, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
        self._running: list[subprocess.Popen] = []

    def start(self, timeout: int = 60, numbers: tuple[int, ...] = (0, 1)) -> None:
        port = free_port()
        self._running = [self._started(port, number, timeout) for number in numbers]

    def _started(self, port: int, number: int, timeout: int) -> subprocess.Popen:
        flags = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2", f"--process_id={number}"]
        command = [sys.executable, "-u", "train.py", f"--config={self._config}", f"--workdir={self.workdir}", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command.append(f"--partner_timeout={timeout}")
        return subprocess.Popen(command, cwd=ROOT, env=self._environment, text=True, **pipes)

    def wait_for_step(self) -> None:
        """Returns once a step is done."""
        while not self._running[0].stdout.readline().startswith("step"):
            assert self._running[0].poll() is None, self._running[0].stderr.read()

    def kill(self, victim: int, survivor: int, how: signal.Signals = signal.SIGKILL) -> float:
        """The seconds that the survivor took to end as it must: one line that names the victim, and status 2."""
        self._running[victim].send_signal(how)
        since = time.monotonic()
        said = self._running[survivor].communicate()[1]
        took = time.monotonic() - since
        self._running[victim].kill()
        self._running[victim].communicate()
        errors = [line for line in said.splitlines() if "clips" not in line and not line.startswith("continuing")]
        [line] = [line for line in errors if line]
        assert line.startswith(f"error: process {victim} of the run "), said
        assert self._running[survivor].returncode == 2
        return took

    def end(self) -> list[int]:
        """Waits for both; their exit statuses."""
        for process in self._running:
            process.communicate()
        return [process.returncode for process in self._running]
