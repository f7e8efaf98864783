import jax
import pytest

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
    yield
    for name, value in before.items():
        jax.config.update(name, value)
