"""From runs to statements: intervals, paired differences, verdicts.

The noise is that of the seeds: first weights, order of the batches and, where the test set is split off, the
split. Test sets of the same table overlap, so the statements are about this table, not about new data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from normkit.experiments.runs import Run

CONFIDENCE = 0.95


@dataclass
class Cell:
    """One normalization at one batch size, over its seeds; None where nothing can be said."""

    normalization: str
    batch_size: int
    runs: int
    diverged: int
    test_accuracy: float | None
    half_width: float | None  # of the 95 % interval of the mean test accuracy
    validation_loss: float | None
    seconds_per_epoch: float | None


@dataclass
class Difference:
    """Mean advantage in test accuracy over another normalization, paired by seed."""

    against: str
    mean: float
    half_width: float
    seeds: int

    @property
    def beyond_noise(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.mean > self.half_width


@dataclass
class Verdict:
    """Which normalization is first at a batch size; `beyond_noise` if it is so against every other."""

    batch_size: int
    winner: str | None
    beyond_noise: bool
    sentence: str
    differences: list[Difference]


def half_width(values: Sequence[float], confidence: float = CONFIDENCE, step: float = 0.0) -> float | None:
    """Half the width of the t interval of the mean; None for fewer than two values.

    Values that come in steps, as accuracies do, may be equal by coincidence and would look certain:
    `step**2 / 12`, the variance that rounding to steps hides, is added to theirs.
    """
    n = len(values)
    if n < 2:
        return None
    error = np.sqrt((np.var(values, ddof=1) + step**2 / 12) / n)
    return float(stats.t.ppf((1 + confidence) / 2, n - 1) * error)


def summarize(runs: Sequence[Run]) -> list[Cell]:
    """Summarize the runs of each normalization and batch size, in order of appearance."""
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.normalization, run.batch_size), []).append(run)
    return [_cell(norm, batch_size, group) for (norm, batch_size), group in groups.items()]


def _cell(norm, batch_size, group):
    ended = [run for run in group if run.status == "ok"]
    if not ended:
        return Cell(norm, batch_size, len(group), len(group), None, None, None, None)
    scores = [run.test_accuracy for run in ended]
    return Cell(
        norm,
        batch_size,
        len(group),
        len(group) - len(ended),
        float(np.mean(scores)),
        half_width(scores, step=1 / ended[0].test_samples),
        float(np.mean([run.validation_loss for run in ended])),
        float(np.median([run.seconds_per_epoch for run in ended])),
    )


def verdicts(runs: Sequence[Run]) -> list[Verdict]:
    """Judge each batch size: the best normalization against each other one.

    The best has the fewest diverged runs, then the highest mean test accuracy. Because it is chosen after
    seeing the results, the t intervals of its differences are made wide enough to hold for all pairs of
    normalizations together with 95 % (Bonferroni): at most one batch size in twenty claims a difference where
    there is none.
    """
    cells = summarize(runs)
    sizes = dict.fromkeys(cell.batch_size for cell in cells)
    return [_verdict(size, [c for c in cells if c.batch_size == size], runs) for size in sizes]


def _verdict(batch_size, cells, runs):
    ended = sorted((c for c in cells if c.diverged < c.runs), key=lambda c: (c.diverged, -c.test_accuracy))
    if not ended:
        return Verdict(batch_size, None, False, f"Batch size {batch_size}: every run diverged.", [])
    best, *others = ended
    pairs = len(ended) * (len(ended) - 1) // 2
    found = [_difference(runs, best, other, 1 - (1 - CONFIDENCE) / pairs) for other in others]
    differences = [difference for difference in found if difference]
    beyond = len(differences) == len(others) > 0 and all(d.beyond_noise for d in differences)
    highest = best.test_accuracy == max(cell.test_accuracy for cell in ended)
    rank = "has the best test accuracy," if highest else "diverged least, with a test accuracy of"
    parts = [f"{best.normalization} {rank} {best.test_accuracy:.4f}"]
    if others and not differences:
        parts.append("too few seeds to tell a difference from noise, use --seeds 5")
    for is_beyond, judgement in (
        (True, "larger than the noise"),
        (False, "no difference that {} seeds can show"),
    ):
        named = [d for d in differences if d.beyond_noise is is_beyond]
        if named:
            evidence = ", ".join(f"{d.against} ({d.mean:+.4f} ± {d.half_width:.4f})" for d in named)
            parts.append(f"{judgement.format(named[0].seeds)} against {evidence}")
    parts += [f"{c.diverged} of {c.runs} runs of {c.normalization} diverged" for c in cells if c.diverged]
    sentence = f"Batch size {batch_size}: {'; '.join(parts)}."
    return Verdict(batch_size, best.normalization, beyond, sentence, differences)


def _difference(runs, best, other, confidence):
    """Compare two cells within the seeds in which both runs ended; None for fewer than two of these."""
    scores: dict[str, dict[int, float]] = {best.normalization: {}, other.normalization: {}}
    for run in runs:
        if run.batch_size == best.batch_size and run.normalization in scores and run.status == "ok":
            scores[run.normalization][run.seed] = run.test_accuracy
    first, second = scores.values()
    differences = [first[seed] - second[seed] for seed in first if seed in second]
    width = half_width(differences, confidence, step=1 / runs[0].test_samples)
    if width is None:
        return None
    return Difference(other.normalization, float(np.mean(differences)), width, len(differences))
