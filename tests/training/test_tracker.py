"""A run told to a library with wandb's interface, which a module here stands in for."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from diffwave_jax.errors import UserError
from diffwave_jax.training.tracker import LIBRARIES, Tracker


@pytest.fixture
def calls(monkeypatch):
    """What the library was asked, in order."""
    made = []

    def call(name):
        return lambda *args, **named: made.append((name, args, named))

    def audio(data, *, sample_rate):
        return ("audio", float(np.max(data)), sample_rate)

    library = SimpleNamespace(init=call("init"), log=call("log"), finish=call("finish"), Audio=audio)
    monkeypatch.setitem(sys.modules, "trackio", library)
    return made


def test_a_run(calls):
    tracker = Tracker("trackio", "small", {"seed": 0})
    for step in (0, 1):
        tracker.step(step)
    tracker.scalars(1, {"loss": 0.5})
    tracker.clips(1, np.full((2, 4), 3.0), 8000)
    tracker.end()
    assert calls == [
        ("init", (), {"project": "diffwave_jax", "name": "small", "config": {"seed": 0}}),
        ("log", ({"loss": 0.5},), {"step": 1}),
        ("log", ({"clip 0": ("audio", 1.0, 8000), "clip 1": ("audio", 1.0, 8000)},), {"step": 1}),
        ("finish", (), {}),
    ]


def test_a_run_that_never_began_is_not_opened(calls):
    Tracker("trackio", "small", {}).end()
    assert calls == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_not_installed(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=f"pip install {library}"):
        Tracker(library, "small", {})
