"""The tables of `norms.py`: a row for each shape, type and kind of output, and geometric means over the shapes."""

import itertools
import statistics

from normkit.bench.norm_cases import DIRECTIONS, Case
from normkit.bench.norm_peers import BOUND

OWN = "normkit"
OUTPUTS = {"out": "given", "fresh": "fresh"}
HEADER = ("shape", "type", "output", "GB/s", "÷ copy", "÷ fastest", "fastest peer")
MEANS_HEADER = ("function", "direction", "output", "shapes", "÷ copy", "÷ fastest")


def samples(case, name, mode):
    """Return a peer's microseconds, repeat by repeat; None where it did not run."""
    return case["peers"].get(name, {}).get(mode, {}).get("us") or None


def median(case, name, mode):
    """Return a peer's median in microseconds, None where it did not run."""
    found = samples(case, name, mode)
    return statistics.median(found) if found else None


def ratio(case, mode, name, other_mode):
    """Return normkit's time over a peer's: the median over the repeats, which are interleaved."""
    own, other = samples(case, OWN, mode), samples(case, name, other_mode)
    if not own or not other:
        return None
    return statistics.median(a / b for a, b in zip(own, other))


def fastest(case, mode):
    """Return name and mode of the fastest peer.

    Where the output is given, a peer may still allocate one: that is all that most of them can do.
    """
    modes = ("out", "fresh") if mode == "out" else ("fresh",)
    ran = [
        (median(case, name, m), name, m)
        for name, m in itertools.product(case["peers"], modes)
        if name not in (OWN, BOUND) and samples(case, name, m)
    ]
    return min(ran)[1:] if ran else None


def _number(value, digits=2):
    if value is None:
        return ""
    return f"{value:.{digits}f}" if value >= 0.1 else f"{value:.2g}"


def _time(value):
    return "" if value is None else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _case(case):
    return Case(**{key: tuple(v) if key == "shape" else v for key, v in case.items() if key not in ("bytes", "peers")})


def columns(result):
    """Return the peers whose times the tables show: the bound, normkit, the others."""
    return [name for name in (BOUND, OWN) if name in result["labels"]] + [
        name for name in result["labels"] if name not in (BOUND, OWN)
    ]


def header(result):
    """Return a table's head."""
    return HEADER[:3] + tuple(f"{result['labels'][name]} µs" for name in columns(result)) + HEADER[3:]


def cells(result, case, mode):
    """Return the row of one case and kind of output."""
    times = [median(case, name, "out" if name == BOUND else mode) for name in columns(result)]
    own, best = median(case, OWN, mode), fastest(case, mode)
    label = f"{result['labels'][best[0]]}{' (fresh)' if best[1] != mode else ''}" if best else ""
    return (
        _case(case).label, case["dtype"], OUTPUTS[mode], *map(_time, times),
        _number(case["bytes"] / own / 1e3, 1) if own else "", _number(ratio(case, mode, BOUND, "out")),
        _number(ratio(case, mode, *best)) if best else "", label,
    )  # fmt: skip


def groups(result):
    """Yield (function, direction, its cases)."""
    for direction, function in itertools.product(DIRECTIONS, dict.fromkeys(c["function"] for c in result["cases"])):
        found = [c for c in result["cases"] if (c["function"], c["direction"]) == (function, direction)]
        if found:
            yield function, direction, found


def rows(result, cases):
    """Return a table's rows: a type and kind of output after the other, each over the shapes."""
    order = itertools.product(dict.fromkeys(case["dtype"] for case in cases), OUTPUTS)
    return [cells(result, case, mode) for dtype, mode in order for case in cases if case["dtype"] == dtype]


def _mean(ratios):
    ratios = [value for value in ratios if value is not None]
    return statistics.geometric_mean(ratios) if ratios else None


def means(result):
    """Return the rows of geometric means: for each function, then for all, forward and backward."""
    peers = [name for name in columns(result) if name not in (OWN, BOUND)]
    parts = list(groups(result))
    for direction in DIRECTIONS:
        every = [case for case in result["cases"] if case["direction"] == direction]
        parts += [("all", direction, every)] if every else []
    found = []
    for (function, direction, cases), mode in itertools.product(parts, OUTPUTS):
        bests = [(case, fastest(case, mode)) for case in cases]
        found.append(
            (
                function, direction, OUTPUTS[mode], str(len(cases)),
                _number(_mean(ratio(case, mode, BOUND, "out") for case in cases)),
                _number(_mean(ratio(case, mode, *best) for case, best in bests if best)),
                *(_number(_mean(_ratio_to(case, mode, name) for case in cases)) for name in peers),
            )
        )  # fmt: skip
    return MEANS_HEADER + tuple(f"÷ {result['labels'][name]}" for name in peers), found


def _ratio_to(case, mode, name):
    """Return the ratio to the better of what the peer can do about the output."""
    can = [m for m in dict.fromkeys((mode, "fresh")) if samples(case, name, m)]
    return ratio(case, mode, name, min(can, key=lambda m: median(case, name, m))) if can else None


def title(result, function, direction):
    """Return a table's heading."""
    return f"{function}, {direction}, {result['threads']} thread{'s' if result['threads'] > 1 else ''}"


def notes(result):
    """Return the lines under the tables."""
    found = [
        f"Medians of {result['repeats']} interleaved repeats of {result['slice_ms']:g} ms; ratios are normkit's time "
        "over the other's, so that below 1 normkit is faster.",
        "÷ fastest: over the fastest peer, in the means over the fastest of each shape. Where the output is given, a "
        "peer that cannot use it is compared with its fresh one.",
    ]
    if (load := result.get("other_load")) is not None:
        found.append(f"Other processes took {load:.0%} of all cores during the run.")
    for name, reason in result["absent"].items():
        found.append(f"{result['labels'][name]}: {reason}.")
    seen = {}
    for case in result["cases"]:
        for name, row in case["peers"].items():
            for text in _remarks(row):
                where = f"{case['function']} {case['dtype']} {case['direction']}"
                seen.setdefault(f"{result['labels'][name]}{text}", []).append(where)
    return found + [f"{what} ({', '.join(dict.fromkeys(where))})." for what, where in seen.items()]


def _remarks(row):
    yield from (f", {way}, left out: {text}" for way, text in row.get("failed", {}).items())
    if "error" in row:
        yield f": {row['error']}"
    for mode in OUTPUTS:
        if row.get(mode, {}).get("verdict") == "rough":
            found = row[mode]
            yield f", {found['way']}: rough parameter gradients, error {found['error']:.0%} of the largest value"


def print_tables(console, result):
    """Show all tables on the terminal."""
    from rich import box
    from rich.table import Table

    tables = [(title(result, f, d), header(result), rows(result, cases)) for f, d, cases in groups(result)]
    for heading, head, lines in [*tables, ("Geometric means over shapes and types", *means(result))]:
        table = Table(title=heading, box=box.SIMPLE)
        for i, name in enumerate(head):
            table.add_column(name, justify="left" if i < 3 else "right", no_wrap=True)
        for line in lines:
            table.add_row(*line)
        console.print(table)
    console.print(*notes(result), sep="\n", highlight=False)


def markdown(result, grid):
    """Return the tables as parts of a Markdown text; `grid(header, rows, left)` draws one."""
    parts = ["**Geometric means over shapes and types**", grid(*means(result), left=3)]
    parts.append("\n".join(f"- {note}" for note in notes(result)))
    for function, direction, cases in groups(result):
        parts += [f"**{title(result, function, direction)}**", grid(header(result), rows(result, cases), left=3)]
    return parts
