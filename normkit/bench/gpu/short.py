"""The short form of the benchmark of the GPU: its sections, with few cases and few repeats."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from normkit.bench.gpu import device
from normkit.bench.gpu.store import Store
from normkit.bench.gpu.supervisor import supervise

KERNELS = ("environment", "copy", "compile", "correctness", "kernels", "host")
TRAINING = ("environment", "training")
PEERS = ("normkit", "torch", "torch-compile", "liger", "triton")
FUNCTIONS = ("layer_norm", "rms_norm", "batch_norm")
MINUTES = 3.0


def missing(dry_run: bool) -> list[str]:
    """Return what is missing, and how to come by it."""
    return device.missing(dry_run)


def run(
    sections: Sequence[str], functions: Sequence[str], peers: Sequence[str], output: Path | None, dry_run: bool,
    quiet: bool,
) -> tuple[int, dict[str, Any] | None, list[str]]:  # fmt: skip
    """Check and time; return the exit status, the result, and what failed.

    A status of 2 means that something is missing or named wrongly, which has been said on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = output or Path(folder) / "gpu.json"
        options = {
            "output": str(file), "deadline": time.time() + 60 * MINUTES, "sections": list(sections),
            "only": list(functions), "peers": ",".join(peers) or None, "quick": True, "fresh": True, "retry": False,
            "dry_run": dry_run,
        }  # fmt: skip
        status = supervise(options, stdout=subprocess.DEVNULL if quiet else sys.stderr)
        store = Store.read(file) if status != 2 else None
        if store is None:
            return status, None, []
        return status, store.result, store.wrong()
