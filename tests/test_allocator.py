"""The allocator's settings change a whole process: each test has its own."""

import platform
import subprocess
import sys

import pytest

# Touches 64 MB twice, and counts the page faults of the second time.
SCRIPT = """
import resource
import numpy as np
from diffwave_jax.allocator import keep_freed_memory
told = {call}
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**23)
before = faults()
np.ones(2**23)
print(told, faults() - before)
"""


def second_time(call: str) -> tuple[str, int]:
    ran = subprocess.run([sys.executable, "-c", SCRIPT.format(call=call)], capture_output=True, text=True, check=True)
    told, faults = ran.stdout.split()
    return told, int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
def test_freed_memory_is_used_again_without_the_system():
    assert second_time("None")[1] > 10  # 64 MB in pages of up to 2 MB
    told, faults = second_time("keep_freed_memory()")
    assert told == "True" and faults <= 10
