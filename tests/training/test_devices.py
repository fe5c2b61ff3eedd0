"""What a process does with memory, and without bf16; the choice of devices is tested with training."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest
import torch

from vocalremix.separation import Separator
from vocalremix.training.devices import has_bf16

PROGRAM = """
import resource
import sys
import torch
from vocalremix.training.devices import keep_freed_memory

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


REFUSED = """
import torch
from vocalremix.training.devices import choose_devices
from vocalremix.util.errors import one_line_errors
from vocalremix.config.params import Compute
from vocalremix.separation import Separator

with one_line_errors():
    {}
"""


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available(),
    reason="only oneDNN on x86 can be told to do without bf16",
)
@pytest.mark.parametrize(
    "work",
    [
        "choose_devices(Compute(accelerator='cpu', devices=1, precision='bf16'))",
        "Separator(torch.nn.Identity(), precision='bf16')",
    ],
)
def test_bf16_on_a_cpu_without_it_is_refused_in_one_line(work: str) -> None:
    own = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(
        [sys.executable, "-c", REFUSED.format(work)], capture_output=True, text=True, env=os.environ | own
    )
    assert done.returncode == 2
    assert done.stderr == "error: precision: bf16, but this CPU has no bf16; set it to 32 or auto\n"


def test_whether_a_cpu_has_bf16_depends_on_the_cpu_alone() -> None:
    state, answer = torch.get_rng_state(), has_bf16("cpu")
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert has_bf16("cpu") == answer
    assert torch.equal(torch.get_rng_state(), state)


def test_a_separator_leaves_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "vocalremix.training.devices.keep_freed_memory", lambda: pytest.fail("the allocator was changed")
    )
    before = torch.get_num_threads(), torch.is_grad_enabled()
    Separator(torch.nn.Identity()).separate(torch.zeros(2, 100))
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before
