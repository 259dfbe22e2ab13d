"""A process that runs one engine and does what the parent asks, one JSON line a request."""

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from normkit.bench.engines import ENGINES
from normkit.bench.engines.problem import Problem
from normkit.bench.entries import installed

# untimed steps before each measurement: the process has slept and its caches are another engine's
_WAKE_STEPS = 16


class Worker:
    """The requests: `ready`, `read`, `prepare`, `begin`, `check`, `measure`."""

    def __init__(self, name, folder):
        self.entry = entry = ENGINES[name]
        began = time.perf_counter()
        self.module = importlib.import_module(f"normkit.bench.engines.{entry.module}")
        self.import_s = time.perf_counter() - began
        self.versions = {package: installed(package) for package in entry.requires}
        if (Path(folder) / "problem.json").exists():
            self.read(folder)

    def ready(self):
        """Return the versions: what is asked first waits for the imports."""
        return {"versions": self.versions}

    def read(self, folder):
        """Take on the problem in a folder."""
        self.problem = Problem.read(folder)
        self.engine = self.module.Engine(self.problem, **self.entry.options)
        return {}

    def _timed(self, order):
        began = time.perf_counter()
        loss = self.engine.run(order)
        seconds = time.perf_counter() - began
        # a whole fit decides itself how many steps it makes
        return seconds / getattr(self.engine, "steps", len(order)), seconds, loss

    def prepare(self, batch_size, steps):
        """Compile and warm up; the compile time is what the first call took longer than a later one."""
        began = time.perf_counter()
        self.engine.prepare(batch_size)
        self.engine.run(self.problem.order(0, batch_size, steps))
        first = time.perf_counter() - began
        self.engine.run(self.problem.order(0, batch_size, _WAKE_STEPS))
        second = self._timed(self.problem.order(1, batch_size, steps))[1]
        return {
            "compile_s": max(first - second, 0.0), "import_s": self.import_s, "versions": self.versions,
            "threads": thread_settings(),
        }  # fmt: skip

    def begin(self, batch_size, steps):
        """Make some steps from the initial weights; return their mean loss."""
        self.engine.prepare(batch_size)
        return {"loss": self.engine.run(self.problem.order(0, batch_size, steps))}

    def check(self, batch_size, epochs):
        """Train whole epochs from the initial weights; return the last one's loss and the test accuracy."""
        self.engine.prepare(batch_size)
        whole_fit = hasattr(self.engine, "steps")
        for epoch in range(1 if whole_fit else epochs):
            loss = self.engine.run(self.problem.order(epoch, batch_size))
        return {"loss": loss, "accuracy": self.engine.accuracy()}

    def _wake(self, steps):
        # another number would be compiled anew
        return steps if getattr(self.engine, "compiles_number_of_steps", False) else min(steps, _WAKE_STEPS)

    def measure(self, batch_size, steps, repeat, slice_s=0.0):
        """Time some steps, over and over for a slice of time, going on from where training stands.

        Returns seconds a step.
        """
        if not hasattr(self.engine, "steps"):
            self.engine.run(self.problem.order(0, batch_size, self._wake(steps)))
        order = self.problem.order(100 + repeat, batch_size, steps)
        found: list[float] = []
        spent = 0.0
        while not found or spent < slice_s:
            step, seconds, _ = self._timed(order)
            found.append(step)
            spent += seconds
        return {"step_s": sum(found) / len(found)}


def thread_settings():
    """Return what the thread pools of this process are set to."""
    from threadpoolctl import threadpool_info

    pools = [{k: pool.get(k) for k in ("internal_api", "version", "num_threads")} for pool in threadpool_info()]
    settings: dict[str, Any] = {"pools": pools}
    if "numba" in sys.modules:
        import numba

        settings["numba"] = {"num_threads": numba.get_num_threads()}
        try:
            settings["numba"]["layer"] = numba.threading_layer()
        except ValueError:  # nothing has run in parallel yet
            settings["numba"]["layer"] = None
    return settings


def serve(make):
    """Answer requests from standard input with what `make` returns, which is made at the first of them."""
    # replies go where standard output went; what libraries print goes to the log
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            worker = worker or make()
            reply = getattr(worker, request.pop("do"))(**request)
        except Exception as error:  # reported in the table; the other engines go on
            import traceback

            traceback.print_exc()
            text = (str(error).strip() or repr(error)).splitlines()[0]
            reply = {"error": f"{type(error).__name__}: {text}"}
        print(json.dumps(reply), file=replies, flush=True)


def main():
    """Serve the engine and folder of the command line."""
    serve(lambda: Worker(*sys.argv[1:]))
