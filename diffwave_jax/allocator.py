"""The C library's allocator, told to keep what one step of training or sampling frees for the next step."""

import ctypes
import sys

# Names and numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_GROWTH = 2**29  # bytes asked of the system at a time


def keep_freed_memory() -> bool:
    """Makes glibc reuse large buffers, which it would give back to the system and have zeroed anew at every step.

    Call it before jax allocates anything. The process keeps the most memory it ever had. Elsewhere than on Linux with
    glibc it does nothing.

    Returns:
      Whether glibc took every setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    settings = {_ARENA_MAX: 1, _MMAP_MAX: 0, _TRIM_THRESHOLD: -1, _TOP_PAD: _GROWTH}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
