"""compute-sanitizer over a short part of the checks: accesses out of bounds, races in shared memory."""

import os
import shutil
import subprocess

from normkit.bench.gpu.sections import Item, Unfinished
from normkit.bench.processes import command_of

TOOLS = ("memcheck", "racecheck")
FOUND = 9  # exit status where the tool found something


def items(run):
    """Return a case for each tool, none where there is no sanitizer."""
    path = shutil.which("compute-sanitizer")
    if run.dry or not path:
        run.store.result["absent"]["compute-sanitizer"] = "needs a device" if run.dry else "not on PATH"
        return []
    run.store.result["absent"].pop("compute-sanitizer", None)
    return [Item(tool, lambda tool=tool: _check(run, path, tool)) for tool in TOOLS]


def _check(run, path, tool):
    command = [path, "--tool", tool, "--error-exitcode", str(FOUND), "--print-limit", "10"]
    if tool == "memcheck":  # what libraries ask the driver for in vain is no fault of a kernel
        command += ["--report-api-errors", "no"]
    command += command_of("normkit.bench.gpu.sanitized")
    # each tensor an allocation of its own, else one that is overrun lies within torch's block
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    # there must be time left for the other tool; the supervisor waits no longer than two minutes for a result
    limit = max(15.0, min(100.0, run.left() * (0.6 if tool == TOOLS[0] else 1.0)))
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)
    except subprocess.TimeoutExpired:
        raise Unfinished(f"stopped after {limit:.0f} s") from None
    lines = (done.stdout + done.stderr).strip().splitlines()
    kept = [line for line in lines if "=========" in line or "wrong" in line or "checks" in line][-40:]
    return {"status": done.returncode, "right": done.returncode == 0, "output": kept or lines[-10:]}
