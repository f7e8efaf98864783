"""Batches are as large as the devices' memory allows."""

import pytest

from diffwave_jax.generation import batches


class FakeChain:
    """A chain on two devices that needs a megabyte a clip on each."""

    num_devices = 2

    def memory(self, batch, length, *, guided):
        return (2 if guided else 1) * 2**20 * batch // self.num_devices


@pytest.mark.parametrize(
    ("n", "free", "guided", "expected"),
    [
        (10_000, 100, False, 2 * 80),  # four fifths of 100 MB on each device
        (10_000, 100, True, 2 * 40),
        (10_000, 10_000_000, False, 2 * batches.LARGEST),
        (5, 100, False, 6),  # not more than needed, but the same on each device
        (5, 0, False, 2),  # one clip a device is the least
    ],
)
def test_batches_fit_an_accelerator(monkeypatch, n, free, guided, expected):
    monkeypatch.setattr(batches, "free_memory", lambda device: free * 2**20)
    monkeypatch.setattr(batches.jax, "default_backend", lambda: "gpu")
    assert batches.fitting_batch_size(FakeChain(), n, 16000, guided=guided) == expected


def test_a_cpu_gets_no_more_than_keeps_it_busy(monkeypatch):
    monkeypatch.setattr(batches, "free_memory", lambda device: 10**12)
    assert batches.fitting_batch_size(FakeChain(), 10_000, 16000, guided=False) == 2 * batches.FIRST_GUESS


def test_free_memory_is_the_devices_own_where_it_says():
    class Device:
        def __init__(self, statistics):
            self.memory_stats = lambda: statistics

    assert batches.free_memory(Device({"bytes_limit": 1000, "bytes_in_use": 300})) == 700
    assert batches.free_memory(Device(None)) > 2**20
