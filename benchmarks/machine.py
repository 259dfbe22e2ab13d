"""What a figure depends on beside the code: processor, cores, operating system."""

import os
import platform
import sys
from pathlib import Path


def describe():
    """Return the machine as plain data."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "hardware_threads_per_core": len(_siblings(cores()[0])),
        "system": platform.platform(),
        "python": sys.version.split()[0],
    }


def cores():
    """Cores this process may use, one hardware thread of each core first."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    allowed = sorted(os.sched_getaffinity(0))
    return sorted(allowed, key=lambda core: (_siblings(core).index(core), core))


def _siblings(core):
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        parts = [part.split("-") for part in path.read_text().strip().split(",")]
    except OSError:
        return [core]
    found = [i for part in parts for i in range(int(part[0]), int(part[-1]) + 1)]
    return found if core in found else [core]


def _cpu_model():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for key in ("model name", "Hardware"):
        for line in lines:
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
