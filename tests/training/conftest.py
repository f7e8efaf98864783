import shutil
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from diffwave_jax.training.loop import Run
from tests.helpers.runs import Processes, write_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A folder of tiny clips."""
    return write_clips(tmp_path_factory.mktemp("training") / "clips")


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Starts processes that share their compiled programs."""
    return Processes(tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="package", autouse=True)
def compiled_once(processes):
    """Programs compiled here are kept too, for the runs that repeat them."""
    before = {name: getattr(jax.config, name) for name in processes.cache_settings}
    for name, value in processes.cache_settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # what was compiled before has settled that there is none
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The folder of the module's `config` trained without interruption."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    Run(config, workdir).train()
    return workdir


@pytest.fixture
def workdir(whole, tmp_path):
    """A copy of `whole` to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "run"))
