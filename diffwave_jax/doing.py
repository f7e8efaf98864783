"""What a long operation is doing at the moment: `with telling(listener)` around it, and `doing(...)` inside.

What takes seconds before the first step lies deep inside the library, in a model that loads its parts when they are
first used; so the listener is that of the caller's context, not an argument of everything between.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def telling(listener: Callable[[str], None]) -> Iterator[None]:
    """A block in which `listener("compiling")`, for example, is called before what may take seconds."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def doing(what: str) -> None:
    """Tells the listener, if there is one, what comes now."""
    listener = _listener.get()
    if listener is not None:
        listener(what)
