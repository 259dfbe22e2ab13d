"""The norms on large and on small arrays, each peer checked before it is timed."""

import dataclasses
import importlib

import torch

from normkit.bench import norm_cases
from normkit.bench.gpu import cases, timing
from normkit.bench.gpu.peers import BOUND, OWN, PEERS, RAW
from normkit.bench.gpu.sections import Item


def items(run):
    """Return a case for each function, shape, type and direction."""
    return [
        Item(case.key, lambda case=case: _measure(run, case), case.fields) for case in cases.cases(run.quick, run.dry)
    ]


def right_ways(run, case, name, inputs, expected):
    """Return the calls of a peer whose results are right, with what is to be said of them, and what failed."""
    good, failed = {}, {}
    module = importlib.import_module(f"normkit.bench.gpu.peers.{PEERS[name].module}")
    for way, call in module.ways(run, case, *inputs).items():
        try:
            results = call()
            run.device.synchronize()
            if name == BOUND:
                good[way] = (call, {"way": way})
                continue
            errors = cases.errors_of(expected, results)
            verdict = norm_cases.verdict(case, errors)
            if verdict == "wrong" or (verdict == "rough" and name in (OWN, RAW)):
                failed[way] = f"wrong result, error {max(errors):.0e} of the largest value"
                continue
            good[way] = (call, {"way": way, "largest_error": timing.number(max(errors)), "verdict": verdict})
        except Exception as error:  # this way is out; the others go on
            if not run.device.healthy():
                raise
            failed[way] = _first_line(error)
    return good, failed


def _first_line(error):
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"


def choose(run, case, name, inputs, expected):
    """Return the fastest right call of a peer and its record; no call where there is none."""
    try:
        good, failed = right_ways(run, case, name, inputs, expected)
    except Exception as error:
        if not run.device.healthy():
            raise
        return None, {"error": _first_line(error)}
    record = {"failed": failed} if failed else {}
    if not good:
        # a peer without anything for the case is no failure
        return None, {"error": "; ".join(failed.values()), **record} if failed else {}
    call, about = min(good.values(), key=lambda entry: min(run.device.microseconds(entry[0], 3, False)))
    return call, {**about, **record}


def prepare(run, case):
    """Return {name: call} of the peers that have the case, and their records."""
    inputs = cases.draw(case, run.device.kind)
    expected = cases.reference(case, *inputs)
    calls, peers = {}, {}
    for name in run.peers:
        # a peer that writes to its inputs must not spoil them for the others
        call, record = choose(run, case, name, [a.clone() for a in inputs], expected)
        if call:
            calls[name] = call
        if record:
            peers[name] = record
    return calls, peers


def describe(case):
    """Return a case as plain data."""
    return {**dataclasses.asdict(case), "bytes": case.bytes}


def _measure(run, case):
    if run.device.kind == "cuda":
        torch.cuda.empty_cache()
    calls, peers = prepare(run, case)
    for name, times in timing.device_times(run, calls).items():
        peers[name] |= times
    return {**describe(case), "peers": peers}
