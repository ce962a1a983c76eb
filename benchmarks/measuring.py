"""Seconds of a call and memory of this process."""

import time
from pathlib import Path

import numpy as np
import torch


def seconds_of(function, *arguments, **settings):
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = function(*arguments, **settings)
    return time.perf_counter() - start, result


def forget_peak():
    """Let the peak of memory count from here; Linux only."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def memory(field):
    """A line of the kernel's account of this process, in MiB: VmRSS is now, VmHWM the peak."""
    account = Path("/proc/self/status").read_text(encoding="utf-8")
    lines = dict(line.split(":") for line in account.splitlines())
    return int(lines[field].split()[0]) / 1024


def peak_of(function):
    """Most memory that PyTorch held at once during a call, beyond what it held before, in MiB.

    Counted from its own record of what it asks for and gives back: tables of a few hundred KiB do
    not show in the kernel's account of the process.
    """
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as record:
        function()
    events = record.profiler.kineto_results.events()
    held = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    sizes = np.array([size for _, size in sorted(held, key=lambda pair: pair[0])])
    return float(np.cumsum(sizes).max()) / 2**20
