"""What a failed checkpoint leaves behind is silenced, and what anybody else says is not."""

import asyncio
import gc
import logging
import sys
import warnings

from diffwave_jax import echoes


async def _fail(text):
    raise ValueError(text)


async def _left(text):
    """Ends while a failed task is left that nobody waited for."""
    task = asyncio.ensure_future(_fail(text))
    await asyncio.sleep(0)
    del task


def test_only_errors_of_checkpoints_that_nobody_waited_for_are_silent(caplog):
    echoes.silence()
    for text in ("run/checkpoints/4.orbax-checkpoint-tmp/params cannot be written", "another's"):
        asyncio.run(_left(text))
        gc.collect()
    assert [str(record.exc_info[1]) for record in caplog.records] == ["another's"]


def test_other_logs_of_asyncio_and_absl_are_heard(caplog):
    echoes.silence()
    for name in ("absl", "asyncio"):
        logging.getLogger(name).error("orbax")  # the scripts let nothing below an error of absl pass
    assert [record.name for record in caplog.records] == ["absl", "asyncio"]


async def async_serialize_from_host():
    """Is named as one of Orbax's."""


async def mine():
    pass


def test_only_orbax_s_unawaited_coroutines_are_silent():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        echoes.silence()
        for function in (async_serialize_from_host, mine):
            function()
            gc.collect()
    assert ["mine" in str(warning.message) for warning in heard] == [True]


def test_the_hook_is_set_once(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", heard := [].append)
    echoes.silence()
    hook = sys.unraisablehook
    echoes.silence()
    assert sys.unraisablehook is hook and hook.hook is heard
