"""Interleaved measurement of several calls on the device."""

import gc
import statistics
from dataclasses import asdict

from normkit.bench.statistics import spread

ROUNDS, SAMPLES = 5, 10
FEW = (2, 3)
MODES = ("cold", "warm")


def quantiles(samples):
    """Return the 20th, 50th and 80th percentile, to four digits."""
    return {name: number(value) for name, value in asdict(spread(samples)).items()}


def number(value):
    """Return four digits: more would be noise."""
    return float(f"{value:.4g}")


def interleaved(calls, sample, quick=False):
    """Return {name: {quantiles, and the median of each round}}; `sample(call, count)` returns times.

    In each round every call has its turn, so that a clock that drifts drifts for all.
    """
    rounds, count = FEW if quick else (ROUNDS, SAMPLES)
    found: dict[str, list] = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                found[name].append(sample(call, count))
    finally:
        gc.enable()
    return {
        name: {
            **quantiles([value for part in parts for value in part]),
            "rounds": [number(statistics.median(part)) for part in parts],
        }
        for name, parts in found.items()
    }


def device_times(run, calls):
    """Return {name: {"cold": ..., "warm": ...}} in microseconds of the device."""
    found: dict[str, dict] = {name: {} for name in calls}
    for mode in MODES:
        times = interleaved(
            calls, lambda call, n, cold=mode == "cold": run.device.microseconds(call, n, cold), run.quick
        )
        for name, value in times.items():
            found[name][mode] = value
    return found
