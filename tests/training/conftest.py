import pytest

from tests.training.runs import Processes, write_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """A folder of tiny clips."""
    return write_clips(tmp_path_factory.mktemp("training") / "clips")


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Starts processes that share their compiled programs."""
    return Processes(tmp_path_factory.mktemp("compiled"))
