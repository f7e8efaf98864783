import pytest

from diffwave_jax.data import open_dataset

from .helpers import write_layout


@pytest.fixture
def config(tmp_path):
    """A `data` section that keeps its preparations within the test."""
    return {"data_dir": str(tmp_path / "prepared"), "length": 400, "sample_rate": 16000}


@pytest.fixture(scope="session")
def ten_clips(tmp_path_factory):
    """A prepared data set of ten clips with labels 0 to 9, one each."""
    folder = tmp_path_factory.mktemp("ten_clips")
    words = dict.fromkeys(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), 1)
    archive = write_layout(folder / "clips", words)
    return open_dataset({"archive": str(archive), "data_dir": str(folder / "prepared"), "length": 400})
