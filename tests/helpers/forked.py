"""Processes forked from one that has imported the library but computed nothing: they start in no time."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing.context import ForkServerContext
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parents[2]


def context() -> ForkServerContext:
    """Whose processes are forked so, all from the same one."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["tests.helpers.runs", "diffwave_jax.commands.train"])
    return found


def run_script(path: Path, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    """`python PATH ARGUMENTS` in the folder `cwd`, with what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = Path(folder) / "stdout", Path(folder) / "stderr"
        work = path, arguments, cwd, dict(os.environ), outputs
        process = context().Process(target=_run, args=work)
        process.start()
        process.join()
        assert process.exitcode is not None
        return subprocess.CompletedProcess(arguments, process.exitcode, *(output.read_text() for output in outputs))


def _run(path: Path, arguments: tuple[str, ...], cwd: Path, environment: dict, outputs: tuple[Path, Path]) -> None:
    for number, output in enumerate(outputs, start=1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.update(environment)
    for name, value in environment.items():
        if name.startswith("JAX_"):  # which JAX reads when it is imported
            jax.config.update(name.lower(), _value(value))
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def _value(text: str) -> bool | int | str:
    known = {"true": True, "false": False}
    return known[text] if text in known else int(text) if text.lstrip("-").isdigit() else text
