"""Check normkit's CUDA kernels on the device, then time them against a copy and against their peers.

One command, one file, written case by case and gone on with where it was left; see benchmarks/README.md. The work is
done by `gpu_worker.py`, in a process that is replaced when a kernel hangs or leaves the device unusable.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import click
import gpu_table
from gpu_sections import SECTIONS
from gpu_store import RESTART, Store

WORKER = Path(__file__).with_name("gpu_worker.py")
# processes that a section may use up; the time is for the others too
RESTARTS = 5
# seconds without a new result after which a kernel is taken to hang; compiling one takes less
PATIENCE = 120.0
# a case that has begun may be ended after the time is over
GRACE = 20.0
LATE = "late"


def _sections(context, parameter, value):
    names = value.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise click.BadParameter(f"unknown {', '.join(unknown)}; known are {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in names]


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


def supervise(options, patience=PATIENCE):
    """Run workers until one gets to the end; return the exit status."""
    output, ended = Path(options["output"]), {}
    while options["sections"]:
        process = subprocess.Popen([sys.executable, str(WORKER), json.dumps(options)])
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


@click.command(context_settings={"show_default": True})
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="File to write.")
@click.option("--sections", callback=_sections, default=",".join(SECTIONS), help="Comma-separated.")
@click.option("--only", multiple=True, metavar="TERM", help="Function, shape (64x256), type or direction; repeatable.")
@click.option("--peers", help="Comma-separated; default: all that are installed, in a dry run normkit and torch.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=8.0, help="Time for all together.")
@click.option("--quick", is_flag=True, help="Few cases, few repeats: does it work at all?")
@click.option("--fresh", is_flag=True, help="Replace the file instead of going on with it.")
@click.option("--retry", is_flag=True, help="Try again what failed before.")
@click.option("--dry-run", is_flag=True, help="On the CPU, tiny shapes, no figures: is the harness whole?")
def main(output, minutes, **options):
    """Check and time normkit on an NVIDIA GPU; exits with 1 if something was wrong, with 2 if something is missing."""
    options |= {"output": str(output), "deadline": time.time() + 60 * minutes}
    status = supervise(options)
    store = Store.read(output) if status != 2 else None
    if store and not options["dry_run"]:
        click.echo(gpu_table.summary(store.result))
    sys.exit(status)


if __name__ == "__main__":
    main()
