"""Times of several callables in one run, and what the machine can do at best in that same run.

Rules: every callable is warmed up first; rounds are interleaved and start at another callable each time, so that drift
and neighbours hit all alike; a sample is the mean of as many calls as fill 0.2 ms; medians and quartiles are kept,
never the best case. Without `flush` a short callable is called once untimed before each sample, so that all start from
equally warm caches. With `flush` each sample is one call after the last-level cache was overwritten.
"""

import ctypes
import gc
import math
import os
import time
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from multipath_gcn import machine

Call = Callable[[], object]
Name = TypeVar("Name", bound=Hashable)
SHORT, LONG = 2e-4, 2e-2  # seconds: a sample lasts at least SHORT; longer calls than LONG stream through memory anyway
COPY_BYTES = 256_000_000


@dataclass(frozen=True)
class Times:
    """Seconds per call, one number per round."""

    seconds: tuple[float, ...]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """First quartile, median, third quartile."""
        return tuple(np.quantile(self.seconds, (0.25, 0.5, 0.75)).tolist())

    @property
    def median(self) -> float:
        return self.quartiles[1]

    def slower_than(self, other: "Times", factor: float) -> bool:
        """By more than the factor in the median, and the quartiles do not overlap."""
        return self.median > factor * other.median and self.quartiles[0] > other.quartiles[2]


class Clock:
    """Seconds of a call: perf_counter on CPU, events on CUDA.

    Args:
        device: where the calls compute.
        flush: overwrite the last-level cache before each sample.
    """

    def __init__(self, device: torch.device, flush: bool = False):
        self.device, self.flush = device, flush
        if flush:
            self._rubbish = torch.zeros(2 * _last_level_cache(device), dtype=torch.uint8, device=device)

    def seconds(self, call: Call, calls: int = 1) -> float:
        """Mean time of one of so many calls in a row."""
        if self.flush:
            self._rubbish.add_(1)
        if self.device.type == "cuda":
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(calls):
                call()
            stop.record()
            stop.synchronize()
            return start.elapsed_time(stop) / 1e3 / calls
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - begin) / calls

    def pilot(self, call: Call) -> float:
        """One warmed-up call; one that takes 0.1 s is not repeated."""
        first = self.seconds(call)
        return first if first > 0.1 else self.seconds(call)


def interleaved(
    calls: Mapping[Name, Call],
    clock: Clock,
    seconds: float = 0.1,
    rounds: tuple[int, int] = (5, 25),
    capped: Collection[Name] = (),
    cap: float = 1.0,
) -> dict[Name, Times]:
    """Times of all calls, taken in turns.

    Args:
        seconds: time to spend on each call, as far as the bounds on the number of rounds allow.
        rounds: least and greatest number of rounds.
        capped: names of calls that get fewer rounds than the least (at least one) rather than exceed `cap` seconds.
    """
    plan = {}
    for name, call in calls.items():
        once = clock.pilot(call)
        repeats = 1 if clock.flush else max(1, math.ceil(SHORT / once))
        warm = not clock.flush and once * repeats < LONG
        count = min(max(int(seconds / (once * (repeats + warm))), rounds[0]), rounds[1])
        if name in capped:
            count = min(count, max(1, int(cap / once)))
        plan[name] = (count, repeats, warm)
    most = max(count for count, _, _ in plan.values())
    found: dict[Name, list[float]] = {name: [] for name in calls}
    names = list(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(most):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                count, repeats, warm = plan[name]
                if (turn + 1) * count // most > turn * count // most:  # few rounds are spread over all turns
                    if warm:
                        calls[name]()
                    found[name].append(clock.seconds(calls[name], repeats))
    finally:
        if collecting:
            gc.enable()
    return {name: Times(tuple(values)) for name, values in found.items()}


def inference(model: torch.nn.Module, *inputs: torch.Tensor) -> Call:
    """A callable that runs a network in inference mode."""

    def run() -> object:
        with torch.inference_mode():
            return model(*inputs)

    return run


def peak_flops(clock: Clock, dtype: torch.dtype) -> float:
    """FLOP/s: the better of a 2048^3 matrix product and a dense 3x3 convolution in either memory format."""
    options = {"device": clock.device, "dtype": dtype}
    a, b = torch.randn(2048, 2048, **options), torch.randn(2048, 2048, **options)
    images = torch.randn(64 if clock.device.type == "cuda" else 8, 256, 28, 28, **options)
    filters = torch.randn(256, 256, 3, 3, **options)
    last, filters_last = (t.to(memory_format=torch.channels_last) for t in (images, filters))
    calls = {
        "product": lambda: a @ b,
        "planar": lambda: F.conv2d(images, filters, padding=1),
        "channels last": lambda: F.conv2d(last, filters_last, padding=1),
    }
    convolution = 2 * images.numel() * filters.numel() // 256
    work = {"product": 2 * 2048**3, "planar": convolution, "channels last": convolution}
    with torch.no_grad():
        times = interleaved(calls, clock, seconds=1.0)
    return max(work[name] / times[name].median for name in calls)


def bandwidth(clock: Clock) -> float:
    """Bytes per second of a copy of 256 MB, those read and those written."""
    source = torch.ones(COPY_BYTES // 4, device=clock.device)
    target = torch.zeros_like(source)
    return 2 * COPY_BYTES / interleaved({"copy": lambda: target.copy_(source)}, clock, seconds=1.0)["copy"].median


def extra_memory(call: Call, device: torch.device) -> float:
    """MiB at the peak of a call that returns its results, above what was in use before and the results themselves.

    On CPU this is resident memory and exact to a few pages (2 MiB each where huge pages are in use); the least of
    three, since all that happens beside the call only adds to it.
    """
    return min(_extra_memory(call, device) for _ in range(1 if device.type == "cuda" else 3))


def _extra_memory(call: Call, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device) / 2**20
    else:
        ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps of earlier calls would hide this one's
        before = machine.PeakMemory(device).peak_mib()
    memory = machine.PeakMemory(device)
    results = call()
    used = memory.peak_mib() - before
    return used - sum(t.untyped_storage().nbytes() for t in results) / 2**20


def describe(clock: Clock) -> dict[str, str | int]:
    """Hardware, versions and the settings that move the times."""
    pages = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return machine.describe(clock.device) | {
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "THP_MEM_ALLOC_ENABLE": os.environ.get("THP_MEM_ALLOC_ENABLE", "unset"),
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES", "unset"),
        "transparent huge pages": pages.read_text().strip() if pages.exists() else "unknown",
        "caches": "flushed before each sample" if clock.flush else "warm",
    }


def heading(title: str, command: str) -> list[str]:
    """How a report on a CPU begins."""
    facts = {"command": command} | describe(Clock(torch.device("cpu")))
    return [f"# {title}", "", *(f"- {fact}: {value}" for fact, value in facts.items()), ""]


def _last_level_cache(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(path.read_text().strip()[:-1]) for path in sizes), default=32768) * 1024
