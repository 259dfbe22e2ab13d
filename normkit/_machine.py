"""The machine that a figure comes from."""

import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's name, or what it understands where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    for key in ("model name", "Hardware"):
        for line in lines:
            if line.startswith(key):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
