from pathlib import Path

import numpy as np
import pytest

from diffwave_jax.evaluation.clips import read_folder
from diffwave_jax.evaluation.recognition import load_recogniser
from diffwave_jax.evaluation.reference import load_reference

DIGITS = Path(__file__).parents[1] / "data" / "digits"


@pytest.fixture(scope="session")
def recogniser():
    return load_recogniser()


@pytest.fixture(scope="session")
def reference(recogniser):
    return load_reference("fsdd", recogniser)


@pytest.fixture(scope="session")
def real(recogniser):
    """One recording of each digit."""
    return read_folder(DIGITS, recogniser)


@pytest.fixture(scope="session")
def noise(recogniser):
    return 0.1 * np.random.default_rng(0).standard_normal((60, recogniser.length)).astype(np.float32)
