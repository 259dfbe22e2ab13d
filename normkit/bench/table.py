"""Tables of the results as text, for whoever draws them."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from normkit.bench.compare import Comparison
from normkit.bench.norm_peers import BOUND
from normkit.bench.statistics import Spread, ratio, spread
from normkit.bench.suite import OWN

CSV_HEADER = (
    "part", "case", "peer", "way", "us_p20", "us_p50", "us_p80", "ratio_p20", "ratio_p50", "ratio_p80", "gb_per_s",
    "loss", "error",
)  # fmt: skip
CHANGE_HEADER = ("case", "before µs", "now µs", "ratio", "from - to", "")


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a Markdown table whose first `left` columns are text, the others numbers."""
    rule = "|" + "---|" * left + "---:|" * (len(header) - left)
    return "\n".join(["| " + " | ".join(header) + " |", rule, *("| " + " | ".join(row) + " |" for row in rows)])


def samples(case: dict[str, Any], peer: str) -> list[float] | None:
    """Return a peer's times in microseconds, None where it was not timed."""
    return case["peers"].get(peer, {}).get("us")


def against(case: dict[str, Any], peer: str) -> Spread | None:
    """Return a peer's time over normkit's, None where one of them was not timed."""
    own, other = samples(case, OWN), samples(case, peer)
    return ratio(other[: len(own)], own[: len(other)]) if own and other else None


def gigabytes(case: dict[str, Any], peer: str = OWN) -> float | None:
    """Return GB/s over the bytes that must move, None for a training step."""
    times = samples(case, peer)
    return case["bytes"] / spread(times).p50 / 1e3 if times and "bytes" in case else None


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def show(found: Spread | None) -> str:
    """Return a median and its spread: half of the range from the 20th to the 80th percentile, in percent."""
    return "" if found is None else f"{_number(found.p50)}±{found.half:.0%}"


def peers_of(result: dict[str, Any], cases: Sequence[dict]) -> list[str]:
    """Return the peers that a table of these cases shows, beside normkit and the copy."""
    timed = {name for case in cases for name in case["peers"] if samples(case, name)}
    return [name for name in result["labels"] if name in timed - {OWN, BOUND}]


def tables(result: dict[str, Any]) -> Iterator[tuple[str, Sequence[str], list[tuple[str, ...]], int]]:
    """Yield the title, header, rows and number of text columns of each table."""
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    kernels = [case for case in result["cases"] if case["part"] == "kernels"]
    for direction in dict.fromkeys(case["direction"] for case in kernels):
        cases = [case for case in kernels if case["direction"] == direction]
        names = peers_of(result, cases)
        header = ("function", "shape", "normkit µs", "GB/s", "of copy", *(f"{result['labels'][n]} ÷" for n in names))
        yield f"Norms {direction}, {threads}", header, [_kernel_row(case, names) for case in cases], 2
    steps = [case for case in result["cases"] if case["part"] == "training"]
    if steps:
        names = peers_of(result, steps)
        header = ("network", "batch", "normkit µs", *(f"{result['labels'][name]} ÷" for name in names))
        rows = [
            (
                case["network_name"],
                str(case["batch"]),
                show(_spread(case, OWN)),
                *(show(against(case, n)) for n in names),
            )
            for case in steps
        ]
        yield f"A training step, {threads}", header, rows, 1


def _spread(case, peer):
    times = samples(case, peer)
    return spread(times) if times else None


def _kernel_row(case, names):
    speed, copy = gigabytes(case), against(case, BOUND)
    shape = "x".join(map(str, case["shape"])) + ("" if case["dtype"] == "float32" else f" {case['dtype']}")
    return (
        case["function"], shape, show(_spread(case, OWN)), "" if speed is None else f"{speed:.1f}",
        "" if copy is None else f"{copy.p50:.0%}", *(show(against(case, name)) for name in names),
    )  # fmt: skip


def notes(result: dict[str, Any]) -> list[str]:
    """Return the lines under the tables: how to read them, and who is missing and why."""
    found = [
        "÷: the peer's time over normkit's, repeat by repeat; above 1 normkit is faster. Medians; ± is half of the "
        "range from the 20th to the 80th percentile.",
    ]
    if any(case["part"] == "kernels" for case in result["cases"]):
        found.append(
            "GB/s over the least bytes that must move; of copy: the time of a copy of as many bytes over normkit's."
        )
    labels, load = result["labels"], result["other_load"]
    if load is not None:
        found.append(f"Other processes took {load:.0%} of all cores{': the figures say little' if load > 0.1 else ''}.")
    found += [f"{labels[name]} is missing: {reason}." for name, reason in result["absent"].items()]
    found += [f"{labels[name]}: {text}." for name, text in result["remarks"].items() if name not in result["absent"]]
    seen: dict[str, list] = {}
    for case in result["cases"]:
        for name, row in case["peers"].items():
            if "error" in row:
                seen.setdefault(f"{labels[name]} was not timed: {row['error']}", []).append(case["key"])
            if row.get("verdict") == "rough":
                seen.setdefault(f"{labels[name]}: rough parameter gradients", []).append(case["key"])
    return found + [f"{text} ({', '.join(keys)})." for text, keys in seen.items()]


def wrong(result: dict[str, Any]) -> list[str]:
    """Return the cases in which normkit itself was not timed."""
    return [case["key"] for case in result["cases"] if "error" in case["peers"].get(OWN, {})]


def changes(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the rows of the comparison with an earlier result."""
    return [
        (
            case.key, _number(case.old_us), _number(case.new_us), f"{case.change.ratio:.2f}",
            f"{case.change.low:.2f} - {case.change.high:.2f}", case.change.verdict,
        )
        for case in comparison.cases
    ]  # fmt: skip


def changes_as_data(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison for a JSON file."""
    cases = [{**asdict(case), "verdict": case.change.verdict} for case in comparison.cases]
    return {"cases": cases, "notes": comparison.notes}


def csv_rows(result: dict[str, Any]) -> Iterator[tuple]:
    """Yield a row for each case and peer; the numbers are not rounded."""
    for case in result["cases"]:
        for name, row in case["peers"].items():
            times, over = _spread(case, name), against(case, name)
            parts = [*_parts(times), *_parts(over), gigabytes(case, name)]
            yield (
                case["part"], case["key"], name, row.get("way"), *parts, row.get("loss"), row.get("error"),
            )  # fmt: skip


def _parts(found: Spread | None) -> tuple:
    return (found.p20, found.p50, found.p80) if found else (None, None, None)
