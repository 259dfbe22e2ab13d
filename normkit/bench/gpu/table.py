"""Tables from the JSON of the benchmark of the GPU."""

import itertools
import statistics

from normkit.bench.gpu.peers import BOUND, OWN, RAW
from normkit.bench.gpu.store import failed
from normkit.bench.table import grid

NOT_YET = "Not measured yet."
DIRECTIONS = ("forward", "backward")
SHOWN = 20  # of what is wrong or was not measured


class NotAResult(Exception):
    """A file of which no table is made."""


def cases(result, section):
    """Return a section's results by key."""
    return result["sections"].get(section, {}).get("cases", {})


def times(case, name, mode):
    """Return a peer's times, None where it was not measured."""
    return case.get("peers", {}).get(name, {}).get(mode)


def ratio(case, name, other, mode):
    """Return the time of one over that of another: the median over the rounds, which are interleaved."""
    first, second = times(case, name, mode), times(case, other, mode)
    if not first or not second:
        return None
    return statistics.median(a / b for a, b in zip(first["rounds"], second["rounds"]))


def fastest(case, mode):
    """Return the fastest peer, None where there is none."""
    ran = [(times(case, name, mode)["p50"], name) for name in case.get("peers", {}) if times(case, name, mode)]
    ran = [(time, name) for time, name in ran if name not in (OWN, RAW, BOUND)]
    return min(ran)[1] if ran else None


def gigabytes(count, microseconds):
    """Return GB/s."""
    return count / microseconds / 1e3


def _number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def _share(value):
    return "" if value is None else f"{1 / value:.0%}"


def _spread(found):
    return f"{_time(found['p50'])} ({_time(found['p20'])}-{_time(found['p80'])})" if found else ""


def _time(value):
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _mean(values):
    values = [value for value in values if value is not None]
    return statistics.geometric_mean(values) if values else None


def _shape(case):
    layout = "" if len(case["shape"]) == 2 else "NCHW " if case["axis"] == 1 else "NHWC "
    return layout + "×".join(map(str, case["shape"]))


def columns(result, found):
    """Return the peers that a table shows, normkit first, the bound last."""
    there = {name for case in found for name, row in case.get("peers", {}).items() if "way" in row}
    return [name for name in result["labels"] if name in there and name != BOUND]


def measured(result, section="kernels"):
    """Return the cases of a section that have times."""
    return [case for case in cases(result, section).values() if "peers" in case]


def kernel_tables(result):
    """Yield (title, header, rows) for each direction and function."""
    every = measured(result)
    for direction, function in itertools.product(DIRECTIONS, dict.fromkeys(case["function"] for case in every)):
        found = [case for case in every if (case["function"], case["direction"]) == (function, direction)]
        if not found:
            continue
        shown = [name for name in columns(result, found) if name != OWN]
        header = (
            "shape", "type", "normkit µs (p20-p80)", *(f"{result['labels'][name]} µs" for name in shown), "GB/s",
            "of the copy", "÷ fastest", "fastest peer", "warm µs", "warm ÷ fastest",
        )  # fmt: skip
        yield f"{function}, {direction}", header, [_row(result, case, shown) for case in found]


def _row(result, case, shown):
    own, warm = times(case, OWN, "cold"), times(case, OWN, "warm")
    best, best_warm = fastest(case, "cold"), fastest(case, "warm")
    others = [times(case, name, "cold") for name in shown]
    return (
        _shape(case), case["dtype"], _spread(own), *(_time(found["p50"]) if found else "" for found in others),
        _number(gigabytes(case["bytes"], own["p50"]), 0) if own else "", _share(ratio(case, OWN, BOUND, "cold")),
        _number(ratio(case, OWN, best, "cold")), result["labels"].get(best, ""), _time(warm["p50"]) if warm else "",
        _number(ratio(case, OWN, best_warm, "warm")),
    )  # fmt: skip


def means(result):
    """Return header and rows of geometric means over the cases of at least 64 MB, for each direction and function."""
    every = [case for case in measured(result) if case["bytes"] >= 2 * 64e6 or result["quick"]]
    shown = [name for name in columns(result, every) if name not in (OWN, RAW)]
    rows = []
    for direction in DIRECTIONS:
        for function in [*dict.fromkeys(case["function"] for case in every), "all"]:
            found = [c for c in every if c["direction"] == direction and function in (c["function"], "all")]
            if found:
                rows.append((function, direction, str(len(found)), *_means(found, shown)))
    labels = (f"÷ {result['labels'][name]}" for name in shown)
    return ("function", "direction", "cases", "of the copy", "kernel alone", "÷ fastest", "the worst", *labels), rows


def _means(found, shown):
    bests = [(case, fastest(case, "cold")) for case in found]
    return (
        _share(_mean(ratio(case, OWN, BOUND, "cold") for case in found)),
        _share(_mean(ratio(case, RAW, BOUND, "cold") for case in found)),
        _number(_mean(ratio(case, OWN, best, "cold") for case, best in bests)),
        _number(max(filter(None, (ratio(case, OWN, best, "cold") for case, best in bests)), default=None)),
        *(_number(_mean(ratio(case, OWN, name, "cold") for case in found)) for name in shown),
    )


def copy_table(result):
    """Return header and rows of the copies."""
    rows = [
        (key, way, *(_number(gigabytes(case["bytes"], found[mode]["p50"]), 0) for mode in ("cold", "warm")))
        for key, case in cases(result, "copy").items()
        for way, found in case.get("ways", {}).items()
    ]
    return ("array", "way", "cold GB/s", "warm GB/s"), rows


def host_table(result):
    """Return header and rows of the host's time."""
    found = measured(result, "host")
    shown = columns(result, found)
    rows = [
        (
            case["function"], case["direction"], _shape(case),
            *(_time(times(case, name, "host")["p50"]) if times(case, name, "host") else "" for name in shown),
        )
        for case in found
    ]  # fmt: skip
    return ("function", "direction", "shape", *(f"{result['labels'][name]} µs" for name in shown)), rows


def training_table(result):
    """Return header and rows of the training."""
    rows = []
    for case in cases(result, "training").values():
        engines = case.get("engines", {})
        eager = engines.get("torch", {}).get("step")
        for name, row in engines.items():
            step = row.get("step")
            gain = None
            if step and eager:
                gain = statistics.median(a / b for a, b in zip(eager["rounds"], step["rounds"]))
            loss = "" if "loss" not in row else f"{row['loss']:.4f}"
            cells = (case["norm"], str(case["batch"]), case["labels"][name], _spread(step), _number(gain), loss)
            rows.append(cells)
    return ("norm", "batch", "engine", "step µs (p20-p80)", "torch eager ÷", "loss"), rows


def correctness(result):
    """Return lines about the checks."""
    checks = cases(result, "correctness")
    if not checks:
        return ["Checks against float64 on the host: not measured yet."]
    wrong = [key for key, record in checks.items() if failed(record)]
    found = [f"Checks against float64 on the host: {len(checks) - len(wrong)} of {len(checks)} right."]
    found += [f"{key}: {checks[key].get('error') or 'wrong, ' + str(checks[key]['errors'])}." for key in wrong[:SHOWN]]
    if len(wrong) > SHOWN:
        found.append(f"And {len(wrong) - SHOWN} more.")
    for tool, record in cases(result, "sanitizer").items():
        said = record.get("error") or ("nothing found" if record["right"] else f"status {record['status']}")
        found.append(f"compute-sanitizer {tool}: {said}.")
    return found


def notes(result):
    """Return the lines under the tables."""
    found = [
        "Median of the device's time between two events, in brackets the 20th and 80th percentile; the L2 cache was "
        "written over before each call, or *warm*, was not. Ratios are medians over interleaved rounds of normkit's "
        "time over the other's: below 1 normkit is faster.",
        "*GB/s*: x and y, or dy, x and dx, over the time. *of the copy*: the time of a copy of as many bytes, "
        "measured beside, over normkit's. *kernel alone*: launched on raw pointers, outputs given. "
        "*the worst*: the largest *÷ fastest* of the cases.",
    ]
    for name, reason in result["absent"].items():
        found.append(f"{result['labels'].get(name, name)}: {reason}.")
    seen: dict[str, list] = {}
    for case in measured(result):
        for name, row in case["peers"].items():
            text = row.get("error")
            if row.get("verdict") == "rough":
                text = "rough parameter gradients, timed all the same"
            if text:
                where = f"{case['function']} {case['direction']} {_shape(case)} {case['dtype']}"
                seen.setdefault(f"{result['labels'][name]}: {text}", []).append(where)
    found += [f"{what} ({', '.join(where)})." for what, where in seen.items()]
    for name, part in result["sections"].items():
        if keys := part["not_measured"]:
            more = f"; and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
            found.append(f"Not measured, of {name}: {'; '.join(keys[:SHOWN])}{more}.")
    return found


def head(result):
    """Return what the figures were measured on."""
    device = result["device"]
    named = {"driver_version": "driver", "cuda": "CUDA", "capability": "compute capability"}
    about = ", ".join([device["name"], *(f"{text} {device[key]}" for key, text in named.items() if device.get(key))])
    return f"{about}; {', '.join(f'{name} {version}' for name, version in sorted(result['versions'].items()))}."


def _part(title, table, left):
    header, rows = table
    return [f"**{title}**", grid(header, rows, left=left) if rows else NOT_YET]


def markdown(result):
    """Return a result file as Markdown."""
    if result.get("kind") != "gpu":
        raise NotAResult("not a result of gpu.py")
    if result["dry_run"]:
        raise NotAResult("a dry run: its figures are not those of a device")
    parts = [head(result), "\n".join(f"- {line}" for line in correctness(result))]
    parts += _part("Geometric means over arrays of 64 MB and more", means(result), 2)
    parts += _part("Copies within the device's memory", copy_table(result), 2)
    for title, header, rows in kernel_tables(result):
        parts += _part(title, (header, rows), 2)
    parts += _part("Host time of a call", host_table(result), 3)
    parts += _part("Training an MLP of 784-256-128-64-10", training_table(result), 3)
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(result))])


CSV_HEADER = (
    "part", "case", "peer", "way", "cold_us_p20", "cold_us_p50", "cold_us_p80", "warm_us_p20", "warm_us_p50",
    "warm_us_p80", "gb_per_s", "error",
)  # fmt: skip


def csv_rows(result):
    """Yield a row for each kernel and peer."""
    for key, case in cases(result, "kernels").items():
        for name, row in case.get("peers", {}).items():
            cold, warm = times(case, name, "cold"), times(case, name, "warm")
            speed = gigabytes(case["bytes"], cold["p50"]) if cold else None
            parts = [(found or {}).get(cut) for found in (cold, warm) for cut in ("p20", "p50", "p80")]
            yield "kernels", key, name, row.get("way"), *parts, speed, row.get("error")


def tables(result):
    """Yield the title, header, rows and number of text columns of each table that has rows."""
    found = [(title, (header, rows), 2) for title, header, rows in kernel_tables(result)]
    found.append(("Host time of a call", host_table(result), 3))
    found.append(("Training an MLP of 784-256-128-64-10", training_table(result), 3))
    for title, (header, rows), left in found:
        if rows:
            yield title, header, rows, left


def summary(result):
    """Return the most important tables, for the terminal."""
    parts = [head(result), "\n".join(correctness(result)[:10])]
    for title, (header, rows) in (("Means", means(result)), ("Host", host_table(result))):
        parts += _part(title, (header, rows), 2)
    return "\n\n".join([*parts, *_part("Training", training_table(result), 3)])
