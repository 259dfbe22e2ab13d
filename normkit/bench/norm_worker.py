"""A process that runs one peer of `norms.py`."""

import gc
import importlib
import sys
import time
from itertools import repeat
from typing import Any

from normkit.bench import norm_cases
from normkit.bench.entries import installed
from normkit.bench.norm_peers import PEERS
from normkit.bench.worker import serve, thread_settings

# untimed before each measurement: the process has slept and its caches are another peer's
_WAKE_S = 2e-3


def _seconds(call, count):
    began = time.perf_counter()
    for _ in repeat(None, count):
        call()
    return (time.perf_counter() - began) / count


def _fastest_of(call, trials, slice_s):
    """Return the fastest of some short trials, after some untimed calls."""
    _seconds(call, 2)
    once = _seconds(call, 1)
    count = max(1, int(slice_s / max(once, 1e-7)))
    return min(_seconds(call, count) for _ in range(trials))


class Worker:
    """The requests: `ready`, `prepare` a case, `measure` it."""

    def __init__(self, name, folder, threads):
        entry = PEERS[name]
        module = importlib.import_module(f"normkit.bench.norm_peers.{entry.module}")
        self.folder, self.bound = folder, entry.kind == "bound"
        self.peer = module.Peer(threads)
        self.versions = {package: installed(package) for package in entry.requires}
        self.calls = {}

    def ready(self):
        """Return the versions: what is asked first waits for the imports."""
        return {"versions": self.versions}

    def prepare(self, case, slice_s, modes=("fresh", "out")):
        """Compile, check and choose the fastest way of each mode."""
        self.calls = {}  # frees the last case's arrays
        gc.collect()
        case = norm_cases.Case(**{**case, "shape": tuple(case["shape"])})
        reply = {"modes": {}, "failed": {}, "versions": self.versions}
        for mode in modes:
            best: dict[str, Any] = {}
            inputs = norm_cases.load(self.folder)
            for way, call in self.peer.ways(case, mode, *inputs).items():
                try:
                    errors = self._errors(case, call)
                except Exception as exception:  # this way is out; the others go on
                    reply["failed"][way] = f"{type(exception).__name__}: {str(exception).strip().splitlines()[0]}"
                    continue
                verdict = norm_cases.verdict(case, errors)
                if verdict == "wrong":
                    reply["failed"][way] = f"wrong result, error {max(errors):.0e} of the largest value"
                    continue
                seconds = _fastest_of(call, 3, slice_s / 4)
                if seconds < best.get("seconds", float("inf")):
                    best = {"way": way, "error": max(errors), "verdict": verdict, "seconds": seconds, "call": call}
            if best:
                seconds, call = best.pop("seconds"), best.pop("call")
                self.calls[mode] = (call, max(1, int(slice_s / seconds)), max(1, int(_WAKE_S / seconds)))
                reply["modes"][mode] = best
        reply["threads"] = thread_settings()
        return reply

    def _errors(self, case, call):
        results = call()
        if self.bound:
            return [self.peer.check(results)]
        return norm_cases.errors_of(self.folder, case, self.peer.arrays(results))

    def measure(self):
        """Time each mode once; returns microseconds a call."""
        found = {}
        gc.disable()
        for mode, (call, count, wake) in self.calls.items():
            _seconds(call, wake)
            found[mode] = _seconds(call, count) * 1e6
        gc.enable()
        return {"us": found}


def main():
    """Serve the peer, folder and threads of the command line."""
    name, folder, threads = sys.argv[1:]
    serve(lambda: Worker(name, folder, int(threads)))
