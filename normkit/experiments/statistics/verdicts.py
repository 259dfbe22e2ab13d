"""What to use at a batch size, in plain words with the evidence, or that the runs cannot tell."""

import math

from normkit.experiments.records import Contrast, Verdict
from normkit.experiments.statistics.candidates import Candidate
from normkit.experiments.statistics.comparisons import Comparisons, Design, differs
from normkit.experiments.statistics.inference import MOST_SEEDS, seeds_needed
from normkit.experiments.statistics.texts import decimals, divergence, listed, p_text

_SHOWN = 3  # differences with their numbers in a sentence; the table has the others
_FEWEST_PAIRS = 3


def _width(contrast):
    return (contrast.high - contrast.low) / 2


def _evidence(contrasts: list[Contrast], baseline: str) -> str:
    """Write "none (+0.0123 ± 0.0045, p = 0.012) and layer (...)", of more than three the names alone."""
    shown = sorted(contrasts, key=lambda c: c.against != baseline)[:_SHOWN]
    parts = []
    for c in contrasts:
        digits = decimals(_width(c))
        numbers = f" ({c.difference:+.{digits}f} ± {_width(c):.{digits}f}, {p_text(c.p_adjusted)})"
        parts.append(c.against + (numbers if c in shown else ""))
    return listed(parts)


def best_of(candidates: list[Candidate]) -> Candidate | None:
    """Return the candidate with the fewest diverged runs, then the highest mean test score; None if none ended."""
    trained = [candidate for candidate in candidates if candidate.ended]
    return min(trained, key=Candidate.rank) if trained else None


def _needed(ties: list[Contrast], comparisons: Comparisons, design: Design, baseline: str) -> str:
    """Say how many seeds would show the difference to the baseline or, where that is none, to the next best."""
    ordered = sorted(ties, key=lambda c: c.against != baseline)
    if ordered[0].pairs < _FEWEST_PAIRS:
        return f"Two runs can hardly show anything: use {design.more}"
    for tie in ordered:
        both = comparisons.estimate(tie.batch_size, tie.choice, tie.against)
        size = f"{abs(tie.difference):.{decimals(_width(tie))}f}"
        if both is not None and float(size):
            break
    else:
        return ""
    seeds = seeds_needed(*both, folds=design.folds, overlap=design.overlap)
    claim = f"To show a difference of {size} to {tie.against}, if that is the true one, takes"
    if seeds is None:
        return f"{claim} more than {MOST_SEEDS} seeds" if design.folds == 1 else f"{claim} more data, not more seeds"
    unit = 10 ** max(0, math.floor(math.log10(seeds)) - 1)
    return f"{claim} about {-(-seeds // unit) * unit} seeds"


def _opening(best: Candidate, rivals: list[Candidate], tried: int, design: Design) -> str:
    """Name the best choice and its score."""
    own = design.estimate([run.test_score for run in best.ended.values() if run.test_score is not None])
    what = f"test {design.word}, {best.test_score:.{decimals(own.half_width() if own else None)}f}"
    if not rivals:
        return f"{best.choice} is the only choice {'tried' if tried == 1 else 'that trains'}; {what}"
    # of two means, None is impossible: candidates that ended have one
    if any((rival.test_score or 0.0) > (best.test_score or 0.0) for rival in rivals):
        return f"{best.choice} diverged least; {what}"
    level = [rival.choice for rival in rivals if rival.rank() == best.rank()]
    if level:
        return f"{listed([best.choice, *level])} have the same {what}"
    return f"{best.choice} has the highest {what}"


def judge(
    batch_size: int, candidates: list[Candidate], comparisons: Comparisons, design: Design, baseline: str
) -> Verdict:
    """Judge one batch size.

    `clear` if the best choice beats every other one that trained, each with an adjusted p-value below 0.05.
    """
    counts = divergence(candidates)
    best = best_of(candidates)
    if best is None:
        what = "no run came to an end" if any(c.failed for c in candidates) else "every run diverged"
        return Verdict(batch_size, None, False, f"Batch size {batch_size}: {what} ({counts}).", [])
    rivals = sorted((c for c in candidates if c.ended and c is not best), key=Candidate.rank)
    found = [comparisons.contrast(batch_size, best.choice, rival.choice) for rival in rivals]
    evidence = [contrast for contrast in found if contrast is not None]
    better = [c for c in evidence if differs(c) and c.difference > 0]
    worse = [c for c in evidence if differs(c) and c.difference < 0]
    ties = [c for c in evidence if not differs(c)]
    clear = len(better) == len(rivals) > 0
    opening = _opening(best, rivals, len(candidates), design)
    parts = [f"use {best.choice}: it {opening.removeprefix(best.choice).strip()}" if clear else opening]
    if better:
        parts.append(f"better than {_evidence(better, baseline)}")
    if worse:
        parts.append(f"where both ended, worse than {_evidence(worse, baseline)}")
    if ties:
        few = design.amount(min(c.pairs for c in ties))
        parts.append(f"no difference that {few} can show against {_evidence(ties, baseline)}")
    sentences = [f"Batch size {batch_size}: {'; '.join(parts)}"]
    if ties:
        sentences.append(_needed(ties, comparisons, design, baseline))
    if missing := [rival.choice for rival, contrast in zip(rivals, found) if contrast is None]:
        sentences.append(f"Too few runs ended to compare with {listed(missing)}: use {design.more}")
    if counts:
        sentences.append(f"Lost: {counts}")
    sentence = ". ".join(part for part in sentences if part) + "."
    return Verdict(batch_size, best.choice, clear, sentence, evidence)


def stands(verdict: Verdict, candidate: Candidate) -> bool:
    """Whether a candidate is the best, or tied with the best: nothing shows that it is worse."""
    if verdict.best is None or not candidate.ended:
        return False
    if candidate.choice == verdict.best:
        return True
    contrast = next((c for c in verdict.evidence if c.against == candidate.choice), None)
    return contrast is not None and not differs(contrast)


def overall(verdicts: list[Verdict], groups: dict[int, list[Candidate]]) -> str:
    """Return the last sentence, over all batch sizes; empty where there is one, or nothing was compared."""
    judged = [verdict for verdict in verdicts if verdict.evidence]
    if len(verdicts) < 2 or len(judged) < len(verdicts):
        return ""
    names = list(dict.fromkeys(c.choice for group in groups.values() for c in group))
    standing = [
        name for name in names
        if all(any(c.choice == name and stands(v, c) for c in groups[v.batch_size]) for v in judged)
    ]  # fmt: skip
    if all(v.clear for v in judged) and len({v.best for v in judged}) == 1:
        return f"Over all batch sizes: {judged[0].best} is the best at each of them."
    if not standing:
        return "Over all batch sizes: no choice is best or tied with the best at each of them, it depends on the size."
    if len(standing) == len(names):
        return "Over all batch sizes: these runs show no choice to be worse than another."
    verb = "is" if len(standing) == 1 else "are each"
    return f"Over all batch sizes: {listed(standing)} {verb} best or tied with the best at every one."
