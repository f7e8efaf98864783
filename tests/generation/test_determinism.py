"""A clip is the same whatever the batch size and the number of devices."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffwave_jax.kernels.rounding import divide_up
from tests.helpers.determinism_clips import BATCH_SIZES
from tests.helpers.tiny import SIZES

DEVICES = (1, 2, 8)
# Six guided steps on audio of order 1 to 10: XLA sums in another order where the batch on a device is another.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{(network, devices, batch size): 16 clips}, each number of devices in a process of its own."""
    clips = {}
    for devices in DEVICES:
        path = tmp_path_factory.mktemp("clips") / f"{devices}.npz"
        flags = f"--xla_force_host_platform_device_count={devices}"
        command = [sys.executable, "-m", "tests.helpers.determinism_clips", str(path)]
        root = Path(__file__).resolve().parents[2]
        subprocess.run(command, check=True, cwd=root, env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"})
        with np.load(path) as arrays:
            clips |= {(name, devices, size): arrays[f"{name} {size}"] for name in SIZES for size in BATCH_SIZES}
    return clips


@pytest.mark.parametrize("network", SIZES)
def test_clips_do_not_depend_on_batch_size_or_devices(made, network):
    expected = made[network, 1, 1]
    assert expected.shape == (16, 256) and np.all(np.isfinite(expected))
    for devices in DEVICES:
        for size in BATCH_SIZES:
            np.testing.assert_allclose(made[network, devices, size], expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("network", SIZES)
def test_clips_are_bit_equal_where_a_device_gets_as_many(made, network):
    # Every device runs the same program on its share, so only the share's size can change a bit.
    by_share = {}
    for devices, size in itertools.product(DEVICES, BATCH_SIZES):
        by_share.setdefault(divide_up(size, devices), []).append(made[network, devices, size])
    assert len(by_share[1]) == 4 and len(by_share[2]) == 2
    for first, *others in by_share.values():
        for other in others:
            np.testing.assert_array_equal(other, first)
