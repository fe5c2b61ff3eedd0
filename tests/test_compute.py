"""What a process does with memory; the choice of devices is tested with training."""

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import sys
import torch
from vocalremix.compute import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
faults = []
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(1 << 24)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library is not glibc"
)
def test_kept_memory_is_not_fetched_from_the_system_again() -> None:
    def page_faults(mode: str) -> int:
        command = [sys.executable, "-c", PROGRAM, mode]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    # 64 MB are 16384 pages, or 32 huge ones
    assert page_faults("keep") < 10 < page_faults("return")
