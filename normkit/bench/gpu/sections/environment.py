"""Where the figures come from, beside what the head of the file tells."""

import platform
import time

from normkit.bench import machine
from normkit.bench.gpu.sections import Item


def items(run):
    """Return one case."""
    return [Item("environment", lambda: _describe(run))]


def _describe(run):
    return {
        "host": machine.describe(), "processor": platform.machine(), "state": run.device.state(),
        "compared": run.peers, "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }  # fmt: skip
