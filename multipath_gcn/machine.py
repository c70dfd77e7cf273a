"""What a run ran on and the memory it took."""

import os
import platform
import resource
import sys
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class PeakMemory:
    """The highest memory use since construction, in MiB: of the process on CPU, of PyTorch's allocator on CUDA.

    Args:
        device: where the run computes.
        floor: the peak of an earlier part of the same run, in MiB.
    """

    def __init__(self, device: torch.device, floor: float = 0.0):
        self.device, self.floor = device, floor
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif os.access(_CLEAR, os.W_OK):
            _CLEAR.write_text("5")  # Linux: sets the high-water mark back to the present use

    def peak_mib(self) -> float:
        if self.device.type == "cuda":
            now = torch.cuda.max_memory_allocated(self.device) / 2**20
        elif _STATUS.exists():
            now = next(int(line.split()[1]) for line in _STATUS.open() if line.startswith("VmHWM")) / 2**10
        else:  # kilobytes, but bytes on macOS
            now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        return max(now, self.floor)


def resident_mib() -> float:
    """What the process has in memory now."""
    if _STATUS.exists():
        return next(int(line.split()[1]) for line in _STATUS.open() if line.startswith("VmRSS")) / 2**10
    return PeakMemory(torch.device("cpu")).peak_mib()  # elsewhere the most it ever had


def describe(device: torch.device) -> dict[str, str | int]:
    """Device, hardware in words, threads and versions, as reports print them."""
    threads = torch.get_num_threads()
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_processor()}, {threads} threads"
    return {
        "device": device.type,
        "hardware": hardware,
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in cpuinfo.open() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()
