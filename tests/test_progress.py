"""What people see of the progress: in a terminal, in a notebook and in a log."""

import io
import sys

from diffwave_jax import progress
from diffwave_jax.doing import doing, telling
from diffwave_jax.progress import CLIPS, Bar


class Screen(io.StringIO):
    """Standard error that is a terminal, or is not."""

    def __init__(self, *, terminal: bool):
        super().__init__()
        self.isatty = lambda: terminal


def shown(monkeypatch, *, terminal: bool) -> Screen:
    """What standard error becomes; in a test itself, because pytest puts its own in place before each."""
    monkeypatch.setattr(sys, "stderr", Screen(terminal=terminal))
    return sys.stderr


def a_run(bar: Bar) -> None:
    with bar:
        bar.doing("making S4 kernels")
        bar.doing("compiling")
        for done in range(1, 5):
            bar.show(done, 4)
        bar.doing("drawing pictures")


def test_a_log_has_lines(monkeypatch):
    log = shown(monkeypatch, terminal=False)
    a_run(Bar(CLIPS, unit="clip"))
    first, second, third, last = log.getvalue().splitlines()
    assert (first, second, last) == ("making S4 kernels", "compiling", "drawing pictures")
    assert third.startswith("4.0/4 clips") and "\r" not in log.getvalue()


def test_a_line_now_and_then(monkeypatch):
    log = shown(monkeypatch, terminal=False)
    seconds = iter([0.0, 10.0, 29.9, 30.1, 45.0, 60.2])
    monkeypatch.setattr(progress.time, "monotonic", lambda: 100 + next(seconds))
    bar = Bar(CLIPS, unit="clip")
    for done in range(6):
        bar.show(done, 100)
    assert [line.split()[0] for line in log.getvalue().splitlines()] == ["3.0/100", "5.0/100"]


def test_a_log_of_what_has_no_known_end(monkeypatch):
    log = shown(monkeypatch, terminal=False)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    bar = Bar("{n_fmt}/{total_fmt}", unit="B", unit_scale=True)
    bar.show(2_000_000, None)
    assert log.getvalue().startswith("2.00MB [") and log.getvalue().endswith("\n")


def test_a_terminal_shows_what_is_done_before_the_first_step_and_after_the_last(monkeypatch):
    terminal = shown(monkeypatch, terminal=True)
    a_run(Bar(CLIPS, unit="clip", mininterval=0))
    seen = terminal.getvalue()
    places = [seen.index(text) for text in ("making S4 kernels", "compiling", "1.0/4", "4.0/4", "drawing pictures")]
    assert places == sorted(places)


def test_what_is_done_in_between_stands_beside_the_bar(monkeypatch):
    terminal = shown(monkeypatch, terminal=True)
    with Bar(CLIPS, unit="clip", mininterval=0) as bar:
        bar.show(1, 4)
        bar.doing("compiling")
        assert "compiling:  25%" in terminal.getvalue()
        bar.show(2, 4)
    assert terminal.getvalue().rindex("compiling") < terminal.getvalue().rindex("50%")


def test_a_notebook_is_no_log(monkeypatch):
    log = shown(monkeypatch, terminal=False)
    monkeypatch.setattr(progress, "NOTEBOOK", True)
    a_run(Bar(CLIPS, unit="clip"))
    assert "100%|" in log.getvalue()


def test_the_listener_of_a_block():
    said = []
    doing("before")
    with telling(said.append):
        doing("inside")
    doing("after")
    assert said == ["inside"]
