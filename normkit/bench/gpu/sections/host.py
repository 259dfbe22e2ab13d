"""What a call costs the host: calls queued one after the other, without waiting for the device."""

import time
from itertools import repeat

from normkit.bench.gpu import timing
from normkit.bench.gpu.cases import DRY_SHAPES, FUNCTIONS, Case
from normkit.bench.gpu.peers import BOUND
from normkit.bench.gpu.sections import Item, kernels

SHAPES = ((8, 1024), (64, 256))
# fewer than a stream's queue takes: where it is full the host waits for the device
CALLS = 200


def items(run):
    """Return a case for each function and direction."""
    shapes = DRY_SHAPES[:1] if run.dry else SHAPES[:1] if run.quick else SHAPES
    cases = [
        Case(function, shape, -1, "float32", direction)
        for shape in shapes
        for direction in ("forward", "backward")
        for function in FUNCTIONS
    ]
    return [Item(case.key, lambda case=case: _measure(run, case), case.fields) for case in cases]


def _queued(run, call, count):
    """Return microseconds of the host a call, some times."""
    calls = 5 if run.dry else CALLS
    found = []
    for _ in range(count):
        for _ in repeat(None, 3):
            call()
        run.device.synchronize()
        began = time.perf_counter()
        for _ in repeat(None, calls):
            call()
        found.append(1e6 * (time.perf_counter() - began) / calls)
        run.device.synchronize()
    return found


def _measure(run, case):
    calls, peers = kernels.prepare(run, case)
    calls.pop(BOUND, None), peers.pop(BOUND, None)
    for name, times in timing.interleaved(calls, lambda call, count: _queued(run, call, count), run.quick).items():
        peers[name]["host"] = times
    return {**kernels.describe(case), "peers": peers}
