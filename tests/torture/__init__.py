"""Long trials; the environment variable TORTURE_SHARE, such as 0.1, asks for so much of each only."""

import os


def share(count: int) -> int:
    """How many of so many repetitions to do."""
    return max(1, round(count * float(os.environ.get("TORTURE_SHARE", "1"))))
