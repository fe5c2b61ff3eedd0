"""What `auto` means on this machine; nothing falls back in silence."""

import ctypes
import sys
from dataclasses import dataclass
from typing import Literal

import torch

from vocalremix.config.params import Compute
from vocalremix.util.errors import InputError

# taken before anything lowers it
CORES = torch.get_num_threads()
# of glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


@dataclass(frozen=True)
class Devices:
    """The hardware a training really runs on."""

    accelerator: str
    count: int
    precision: Literal["32-true", "bf16-mixed"]
    cpu_threads: int
    """Of each process."""


def choose_devices(compute: Compute) -> Devices:
    """Settle what `auto` means on this machine.

    Raises InputError where a GPU is asked for and none is there, more devices are asked for than are visible, torch
    cannot use those that are, or bf16 is asked for on hardware without it: nothing falls back in silence.
    """
    accelerator = compute.accelerator
    available = 0 if accelerator == "cpu" else _n_gpus()
    if accelerator == "auto":
        accelerator = "cuda" if available else "cpu"
    if accelerator == "cuda" and not available:
        raise InputError("compute.accelerator: cuda, but torch sees no CUDA device here; set it to cpu or auto")
    if accelerator == "cpu":
        count = 1 if compute.devices == "auto" else compute.devices
    else:
        count = available if compute.devices == "auto" else compute.devices
        if count > available:
            raise InputError(f"compute.devices: {count}, but only {available} CUDA devices are visible")
    if compute.precision == "bf16":
        refuse_missing_bf16(accelerator)
    bf16 = compute.precision == "bf16" or (compute.precision == "auto" and accelerator == "cuda" and has_bf16("cuda"))
    return Devices(accelerator, count, "bf16-mixed" if bf16 else "32-true", choose_threads(compute, count))


def refuse_missing_bf16(accelerator: str) -> None:
    """Raise InputError where this machine's "cpu" or "cuda" computes no bf16."""
    if not has_bf16(accelerator):
        name = {"cpu": "CPU", "cuda": "GPU"}[accelerator]
        raise InputError(f"precision: bf16, but this {name} has no bf16; set it to 32 or auto")


def _n_gpus() -> int:
    """How many GPUs there are; InputError where torch cannot use them, because the driver is too old, say."""
    count = torch.cuda.device_count()
    try:
        if count:
            torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError, torch.cuda.DeferredCudaCallError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{count} GPUs, but torch cannot use them ({reason}); mend that, or choose cpu") from error
    return count


def has_bf16(accelerator: str) -> bool:
    """Whether this machine's "cpu" or "cuda" computes in bf16; of a CPU, an LSTM forward and back is the test."""
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        # the caller's random numbers stay as they are, and its modes decide nothing
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
            with torch.autocast("cpu", torch.bfloat16):
                lstm = torch.nn.LSTM(8, 8, bidirectional=True, device="cpu")
                outputs, _ = lstm(torch.zeros(8, 8, 8, device="cpu"))
            outputs.sum().backward()
    except RuntimeError:  # oneDNN has no LSTM in bf16 for a CPU without AVX-512
        return False
    return True


def choose_threads(compute: Compute, n_processes: int = 1) -> int:
    """CPU threads of each process; `auto` leaves half of the cores to loaders and to whatever else runs.

    Threads that outnumber the free cores wait for one another at every operation: on two cores, two trainings of two
    threads each were measured 3 to 40 times slower than of one.
    """
    if compute.cpu_threads == "auto":
        return max(1, CORES // (2 * n_processes))
    return compute.cpu_threads


def keep_freed_memory() -> None:
    """From now on, have glibc keep the memory that this process frees; does nothing where there is no glibc.

    By default glibc returns large blocks to the system at once, and the next step gets them back page by page, each one
    zeroed: a quarter to a third of a training step on a CPU. Kept, they may lie in the way of larger ones: in training
    up to 70 % more memory was measured, in separation none (docs/performance.md).
    """
    # macOS's and musl's C libraries have no mallopt
    if mallopt := sys.platform == "linux" and getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def choose_device(name: str) -> torch.device:
    """The torch device of "cpu", "cuda", "cuda:1" or "auto"; InputError instead of a silent fallback to the CPU."""
    if name == "auto":
        return torch.device("cuda" if _n_gpus() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device {name}: unknown; choose cpu, cuda or auto") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name}: not supported; choose cpu, cuda or auto")
    if device.type == "cuda" and (device.index or 0) >= _n_gpus():
        raise InputError(f"device {name}: torch sees no such GPU here; choose cpu or auto")
    return device
