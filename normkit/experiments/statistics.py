"""From runs to statements: intervals, paired differences, verdicts."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from normkit.experiments.runs import Run


@dataclass
class Cell:
    """One normalization at one batch size; the interval is None where fewer than two runs ended."""

    normalization: str
    batch_size: int
    runs: int
    diverged: int
    test_accuracy: float | None
    half_width: float | None
    validation_loss: float | None
    seconds_per_epoch: float | None


@dataclass
class Verdict:
    """Which normalization won at a batch size, and whether that is more than noise."""

    batch_size: int
    winner: str | None
    beyond_noise: bool
    sentence: str


def half_width(values, confidence=0.95):
    """Half the width of the t interval of the mean; None for fewer than two values."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return None
    return float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * stats.sem(values))


def summarize(runs: list[Run]) -> list[Cell]:
    """Summarize the runs of each normalization and batch size, in order of appearance."""
    groups: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.normalization, run.batch_size), []).append(run)
    cells = []
    for (norm, batch_size), group in groups.items():
        ended = [run for run in group if run.status == "ok"]
        scores = [run.test_accuracy for run in ended]
        cells.append(
            Cell(
                norm,
                batch_size,
                len(group),
                len(group) - len(ended),
                float(np.mean(scores)) if ended else None,
                half_width(scores) if ended else None,
                float(np.mean([run.validation_loss for run in ended])) if ended else None,
                float(np.median([run.seconds_per_epoch for run in ended])) if ended else None,
            )
        )
    return cells


def verdicts(runs: list[Run]) -> list[Verdict]:
    """Judge each batch size: the best mean test accuracy against the next, paired by seed.

    The winner has the fewest diverged runs, then the best mean. The difference is larger than the noise if the
    95 % t interval of the paired differences excludes zero.
    """
    result = []
    cells = summarize(runs)
    for batch_size in dict.fromkeys(run.batch_size for run in runs):
        row = [cell for cell in cells if cell.batch_size == batch_size and cell.test_accuracy is not None]
        row.sort(key=lambda cell: (cell.diverged, -(cell.test_accuracy or 0)))
        if not row:
            result.append(Verdict(batch_size, None, False, f"Batch size {batch_size}: every run diverged."))
            continue
        best = row[0]
        text = f"Batch size {batch_size}: {best.normalization} has the best test accuracy, {best.test_accuracy:.4f}"
        if len(row) < 2:
            result.append(Verdict(batch_size, best.normalization, False, f"{text}; nothing to compare it with."))
            continue
        second = row[1]
        differences = _paired(runs, batch_size, best.normalization, second.normalization)
        mean = float(np.mean(differences)) if differences else float("nan")
        width = half_width(differences) if differences else None
        if width is None:
            beyond, evidence = False, "one run cannot tell a difference from noise; use --seeds 5"
        else:
            beyond = abs(mean) > width
            judgement = "larger than the noise" if beyond else "no difference that this many seeds can show"
            evidence = f"{judgement} ({mean:+.4f} ± {width:.4f} against {second.normalization}, {len(differences)} seeds)"
        if second.diverged > best.diverged:
            evidence += f"; {second.diverged} of {second.runs} runs of {second.normalization} diverged"
        result.append(Verdict(batch_size, best.normalization, beyond, f"{text}; {evidence}."))
    return result


def _paired(runs, batch_size, first, second):
    """Differences of test accuracy within a seed, where both runs ended."""
    scores = {
        (run.normalization, run.seed): run.test_accuracy
        for run in runs
        if run.batch_size == batch_size and run.status == "ok"
    }
    seeds = sorted({run.seed for run in runs})
    return [
        scores[first, seed] - scores[second, seed]
        for seed in seeds
        if (first, seed) in scores and (second, seed) in scores
    ]


def as_dicts(items):
    """Return dataclasses as plain data."""
    return [asdict(item) for item in items]
