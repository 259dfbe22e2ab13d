"""What a figure depends on beside the code: processor, cores, operating system."""

import os
import platform
import sys
import time
from pathlib import Path

from normkit._machine import processor


def describe():
    """Return the machine as plain data."""
    return {
        "cpu": processor(),
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


class Company:
    """How much of all cores other processes took meanwhile: a figure measured beside them says little."""

    def __init__(self):
        self.began = self._read()

    @staticmethod
    def _read():
        try:
            fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        except OSError:
            return None
        user, nice, system = (int(field) / os.sysconf("SC_CLK_TCK") for field in fields[:3])
        times = os.times()
        own = times.user + times.system + times.children_user + times.children_system
        return time.perf_counter(), user + nice + system, own

    def share(self):
        """Return it as a share of one; None where the system does not tell. Call it when the workers have ended."""
        if self.began is None:
            return None
        elapsed, busy, own = (b - a for a, b in zip(self.began, self._read()))
        return max(0.0, busy - own) / (elapsed * (os.cpu_count() or 1))


def _siblings(core):
    path = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    try:
        parts = [part.split("-") for part in path.read_text().strip().split(",")]
    except OSError:
        return [core]
    found = [i for part in parts for i in range(int(part[0]), int(part[-1]) + 1)]
    return found if core in found else [core]
