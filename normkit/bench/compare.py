"""A result against an earlier one: what changed by more than the spread of the timings."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from normkit.bench.norm_peers import BOUND
from normkit.bench.results import KIND
from normkit.bench.statistics import Change, Spread, change, spread
from normkit.bench.suite import OWN
from normkit.experiments.errors import DataError


@dataclass(frozen=True)
class Compared:
    """One case of both results."""

    key: str
    old_us: float
    new_us: float
    change: Change


@dataclass(frozen=True)
class Comparison:
    """All cases that both results have, and what else there is to say."""

    cases: list[Compared]
    notes: list[str]

    def slower_than(self, limit: float) -> list[Compared]:
        """Return the cases that are slower than so many times the earlier time, by more than the spread."""
        return [case for case in self.cases if case.change.low > limit]


def compare(new: dict[str, Any], old: dict[str, Any], name: str = "the earlier file") -> Comparison:
    """Compare normkit's times.

    Parameters
    ----------
    new, old : dict
        Results of ``normkit bench``.
    name : str
        How the earlier one is called in notes and errors.

    Raises
    ------
    DataError
        If the earlier result is damaged or of another device, or has no case of the new one.
    """
    if new["kind"] != old["kind"]:
        raise DataError(f"{name} is a result of another device")
    times = _host_times if new["kind"] == KIND else _device_times
    try:
        before, after = times(old, OWN), times(new, OWN)
        cases = [
            Compared(key, before[key].p50, found.p50, change(found, before[key]))
            for key, found in after.items()
            if key in before
        ]
        notes = [*_circumstances(new, old), *_meanwhile(times, new, old)]
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"{name} is damaged: {type(error).__name__} {error}") from None
    if not cases:
        raise DataError(f"{name} has no case of this run, but {', '.join(list(before)[:3]) or 'none at all'}")
    if missing := [key for key in after if key not in before]:
        notes.append(f"Not in {name}: {', '.join(missing)}.")
    if gone := [key for key in before if key not in after]:
        notes.append(f"Only in {name}: {', '.join(gone)}.")
    return Comparison(cases, notes)


def _host_times(result, peer) -> dict[str, Spread]:
    found = {}
    for case in result["cases"]:
        if samples := case["peers"].get(peer, {}).get("us"):
            found[case["key"]] = spread([float(value) for value in samples])
    return found


def _device_times(result, peer) -> dict[str, Spread]:
    found = {}
    for key, case in result["sections"].get("kernels", {"cases": {}})["cases"].items():
        if times := case.get("peers", {}).get(peer, {}).get("cold"):
            found[key] = Spread(float(times["p20"]), float(times["p50"]), float(times["p80"]))
    return found


def _circumstances(new, old):
    """Yield what else is not as it was."""
    names = ("machine", ("cpu", "cores", "system")) if new["kind"] == KIND else ("device", ("name", "driver_version"))
    here, there = new[names[0]], old[names[0]]
    differ = [field for field in names[1] if here.get(field) != there.get(field)]
    if fields := [f"{field} {there.get(field)}, now {here.get(field)}" for field in differ]:
        yield f"Another {names[0]}, so that the ratios are not normkit's alone: {'; '.join(fields)}."
    if new.get("threads") != old.get("threads"):
        yield f"Threads: {old.get('threads')}, now {new.get('threads')}."
    before, now = old["versions"], new["versions"]
    if changed := [
        f"{name} {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]
    ]:
        yield f"Versions: {'; '.join(changed)}."


def _meanwhile(times: Callable, new, old):
    """Yield what became of the copy, which no change of normkit explains."""
    before, after = times(old, BOUND), times(new, BOUND)
    if ratios := [after[key].p50 / before[key].p50 for key in after if key in before]:
        yield f"The copies of as many bytes took {median(ratios):.2f} times as long as then (median)."
