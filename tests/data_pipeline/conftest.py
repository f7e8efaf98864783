import pytest

from diffwave_jax.data import open_dataset
from diffwave_jax.digits import DIGITS
from tests.helpers.audio_files import write_layout


@pytest.fixture
def config(tmp_path):
    """A `data` section that keeps its preparations within the test."""
    return {"data_dir": str(tmp_path / "prepared"), "length": 400, "sample_rate": 16000}


@pytest.fixture(scope="session")
def ten_clips(tmp_path_factory):
    """A prepared data set of ten clips with labels 0 to 9, one each."""
    folder = tmp_path_factory.mktemp("ten_clips")
    words = dict.fromkeys(DIGITS, 1)
    archive = write_layout(folder / "clips", words)
    return open_dataset({"archive": str(archive), "data_dir": str(folder / "prepared"), "length": 400})
