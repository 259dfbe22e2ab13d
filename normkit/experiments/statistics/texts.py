"""Numbers, names and counts as the sentences of verdicts and benefits write them."""

import math

from normkit.experiments.statistics.candidates import Candidate


def decimals(width: float | None) -> int:
    """Decimals of a number that is known to within `width`: two figures of the width, but 2 to 4 decimals."""
    if not width:
        return 4
    return min(4, max(2, 1 - math.floor(math.log10(width))))


def p_text(p: float) -> str:
    """Write a p-value for a sentence: two figures, one where it is large, more where it would be rounded to 0.05."""
    if p < 0.001:
        return "p < 0.001"
    figures = 1 if p >= 0.1 else 2
    while p < 0.05 <= float(f"{p:.{figures}g}"):
        figures += 1
    return f"p = {p:.{figures}g}"


def listed(names: list[str]) -> str:
    """Write "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def divergence(candidates: list[Candidate]) -> str:
    """Write "none div 2/5, batch div 1/5, 1/5 failed"; empty where every run ended."""
    parts = []
    for c in candidates:
        counts = [f"div {c.diverged}/{len(c.runs)}"] if c.diverged else []
        counts += [f"{c.failed}/{len(c.runs)} failed"] if c.failed else []
        if counts:
            parts.append(f"{c.choice} {', '.join(counts)}")
    return ", ".join(parts)
