"""Run the worker, and replace it when a kernel hangs or leaves the device unusable."""

import json
import subprocess
import time
from pathlib import Path

import click

from normkit.bench.gpu.store import RESTART, Store
from normkit.bench.processes import command_of

WORKER = command_of("normkit.bench.gpu.worker")
# processes that a section may use up; the time is for the others too
RESTARTS = 5
# seconds without a new result after which a kernel is taken to hang; compiling one takes less
PATIENCE = 120.0
# a case that has begun may be ended after the time is over
GRACE = 20.0
LATE = "late"


def _stamp(path):
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _wait(process, output, deadline, patience):
    """Return the worker's status, or why it was stopped; LATE, where only the time was over."""
    seen, since = None, time.time()
    while (status := process.poll()) is None:
        time.sleep(0.05)
        now, stamp = time.time(), _stamp(Store.heartbeat(output))
        if stamp != seen:
            seen, since = stamp, now
        late = now > deadline + GRACE
        # until the first case begins there is much to import
        if late or now - since > (PATIENCE if stamp is None else patience):
            process.kill()
            process.wait()
            return LATE if late else f"stopped after {patience:.0f} s without a result"
    return status


def _why(status):
    if status == RESTART:
        return "the device no longer answered"
    return status if isinstance(status, str) else f"the process ended with status {status}"


def supervise(options, patience=PATIENCE, stdout=None):
    """Run workers until one gets to the end; return the exit status. What they say of their progress goes to stdout."""
    output = Path(options["output"])
    ended: dict[str, int] = {}
    while options["sections"]:
        process = subprocess.Popen([*WORKER, json.dumps(options)], stdout=stdout)
        try:
            status = _wait(process, output, options["deadline"], patience)
        finally:
            if process.poll() is None:
                process.kill()
        if status in (0, 1, 2):
            return 1 if ended and status == 0 else status
        store = Store.read(output)
        if status == LATE:  # the case is one that was not measured
            if store:
                store.close()
            return 1 if store and store.wrong() else 0
        case = store.settle(_why(status)) if store else None
        click.echo(f"{': '.join(case) if case else 'the worker'}: {_why(status)}", err=True)
        if case is None:
            return 1
        section = case[0]
        ended[section] = ended.get(section, 0) + 1
        options = {**options, "fresh": False, "retry": False}
        if ended[section] > RESTARTS:
            click.echo(f"{section}: given up after {RESTARTS} restarts", err=True)
            options["sections"] = [name for name in options["sections"] if name != section]
    return 1
