"""Numbers and counts as the tables and plots of a report write them."""

import math
from typing import Any

from normkit.experiments.records import Cell


def number(value: float | None, digits: int = 4) -> str:
    """Return a number with so many decimals; a dash for None, an exponent where decimals would be noise."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.3g}"


def troubles(cell: Cell) -> str:
    """Return how many runs of a cell have no score, as 'div 2/5'; empty if all have one."""
    parts = [("div", cell.diverged), ("fail", cell.failed)]
    return ", ".join(f"{name} {count}/{cell.runs}" for name, count in parts if count)


def score_text(cell: Cell) -> str:
    """Return the mean, its interval and the troubles of a cell as far as it has them."""
    parts = []
    if cell.test_score is not None:
        parts.append(number(cell.test_score))
    if cell.low is not None and cell.high is not None:
        parts.append(f"[{number(cell.low)}, {number(cell.high)}]")
    return " ".join(filter(None, [*parts, troubles(cell)])) or "–"


def value_text(value: Any) -> str:
    """Return a value of a condition as the command line spells it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
