"""From runs to statements: cells, contrasts, verdicts, benefits, and how to read them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from normkit.experiments.errors import DataError
from normkit.experiments.records import Cell, Condition, Contrast, Run, Summary, Verdict
from normkit.experiments.statistics import benefits, verdicts
from normkit.experiments.statistics.candidates import Candidate, by_condition, candidates, excess, mean_of
from normkit.experiments.statistics.comparisons import Comparisons, Design
from normkit.experiments.statistics.inference import bootstrap_interval, probability_best

Interval = Literal["t", "bootstrap"]


def summarize(runs: Sequence[Run], baseline: str = "none", interval: Interval = "t") -> Summary:
    """Say all that can be said about an experiment.

    Parameters
    ----------
    runs : sequence of Run
        Of one metric. Of two with the same condition, seed and fold the later one counts.
    baseline : str
        The choice, as `Condition.choice` names it, that contrasts and benefits are measured against.
    interval : {"t", "bootstrap"}
        Of the mean test score of each cell; "bootstrap" is the BCa interval, too narrow with fewer than about ten
        runs. Contrasts are always judged by t tests.

    Returns
    -------
    Summary
        Every number is finite, or None where the runs cannot tell.

    Raises
    ------
    DataError
        If there are no runs, or they are of different metrics; or an argument is not one of those above.
    """
    if interval not in ("t", "bootstrap"):
        raise DataError(f"interval must be 't' or 'bootstrap', got {interval!r}")
    if not runs:
        raise DataError("there are no runs to summarize")
    if len(metrics := sorted({run.metric for run in runs})) > 1:
        raise DataError(f"runs must be of one metric to be summarized together, got {' and '.join(metrics)}")
    groups = by_condition(runs)
    runs = [run for group in groups.values() for run in group]
    design = Design(runs)
    rivals = candidates(groups)
    comparisons = Comparisons(rivals, design)
    judged = [verdicts.judge(size, group, comparisons, design, baseline) for size, group in rivals.items()]
    marks = _marks(rivals, judged, design)
    cells = [_cell(condition, group, design, interval, marks) for condition, group in groups.items()]
    return Summary(
        metric=design.metric,
        baseline=baseline,
        cells=cells,
        contrasts=_contrasts(rivals, judged, comparisons, baseline),
        verdicts=judged,
        benefits=benefits.measure(groups, rivals, design, baseline),
        notes=_notes(rivals, design, comparisons, baseline, interval),
        overall=verdicts.overall(judged, rivals),
    )


def _marks(rivals, judged, design):
    """Map the condition of each candidate to its probability of being the best, and whether it is tied with it."""
    marks: dict[Condition, tuple[float | None, bool]] = {}
    for verdict, group in zip(judged, rivals.values()):
        standing = {c.choice for c in group if verdicts.stands(verdict, c)}
        for candidate, probability in zip(group, _probabilities(group, design)):
            marks[candidate.config] = probability, len(standing) > 1 and candidate.choice in standing
    return marks


def _probabilities(group: list[Candidate], design: Design) -> list[float | None]:
    """Probability of each candidate of being the best, from the seeds and folds that none of them lacks.

    As in the verdict, divergence counts before the score: only those that diverged least can be the best.
    """
    trained = [c for c in group if c.ended]
    if not trained or len(group) < 2:
        return [None] * len(group)
    least = min(c.rank()[0] for c in trained)
    # by name, so that what is drawn at random does not depend on the order in which runs end or are read
    able = sorted((c for c in trained if c.rank()[0] == least), key=lambda c: c.choice)
    keys = sorted(set.intersection(*(set(c.ended) for c in able)))
    scores = np.array([[c.ended[key].test_score for c in able] for key in keys]).reshape(len(keys), len(able))
    found = probability_best(scores, design.step, design.overlap)
    if found is None:
        return [None] * len(group)
    known = {c.choice: float(p) for c, p in zip(able, found)}
    return [known.get(c.choice, 0.0) for c in group]


def _cell(condition: Condition, runs: list[Run], design: Design, interval: Interval, marks) -> Cell:
    candidate = Candidate(condition.choice, condition, runs)
    done = list(candidate.ended.values())
    low, high = _interval(done, design, interval)
    probability, tied = marks.get(condition, (None, False))
    return Cell(
        config=condition,
        choice=condition.choice,
        runs=len(runs),
        diverged=candidate.diverged,
        failed=candidate.failed,
        test_score=candidate.test_score,
        low=low,
        high=high,
        test_loss=mean_of(run.test_loss for run in done),
        validation_score=mean_of(run.validation_score for run in done),
        validation_loss=mean_of(run.validation_loss for run in done),
        gap=mean_of(excess(run) for run in done),
        seconds_per_epoch=_seconds_per_epoch(done),
        probability_best=probability,
        tied=tied,
    )


def _interval(done, design, interval):
    if interval == "t":
        found = design.estimate([run.test_score for run in done])
        return (None, None) if found is None else (found.mean - found.half_width(), found.mean + found.half_width())
    seeds: dict[int, list[float]] = {}
    for run in done:
        seeds.setdefault(run.seed, []).append(run.test_score)
    # folds of one seed belong together; where there is one seed they are all there is
    units = [float(np.mean(part)) for part in seeds.values()] if len(seeds) > 1 else [r.test_score for r in done]
    return bootstrap_interval(units) or (None, None)


def _seconds_per_epoch(runs):
    """Median over the runs of the median over the epochs."""
    medians = [np.median(run.curves["seconds"]) for run in runs if run.curves.get("seconds")]
    if not medians:
        medians = [run.seconds / run.config.epochs for run in runs if run.seconds > 0]
    return float(np.median(medians)) if medians else None


def _contrasts(rivals, judged: list[Verdict], comparisons, baseline) -> list[Contrast]:
    """Every choice against the baseline, then the best against every other, each pair once."""
    found = []
    for verdict, (size, group) in zip(judged, rivals.items()):
        pairs = [(c.choice, baseline) for c in group if c.choice != baseline]
        pairs += [(verdict.best, c.choice) for c in group if verdict.best not in (None, c.choice)]
        kept: dict[frozenset, tuple[str, str]] = {}
        for pair in pairs:
            kept.setdefault(frozenset(pair), pair)
        contrasts = (comparisons.contrast(size, *pair) for pair in kept.values())
        found += [contrast for contrast in contrasts if contrast is not None]
    return found


def _notes(rivals, design: Design, comparisons, baseline, interval: Interval) -> list[str]:
    notes = [
        f"Intervals are 95 % {'BCa bootstrap' if interval == 'bootstrap' else 't'} intervals of the mean. They, and "
        "all tests, are about this data with other seeds, not about new data from the same source.",
    ]
    if design.folds > 1:
        notes.append(
            f"The {design.folds} folds of a seed share training rows: t intervals and tests are corrected for it "
            "(Nadeau and Bengio 2003)."
        )
    if len(comparisons):
        notes.append(
            f"Differences are taken within a seed. p-values are Holm's over all {len(comparisons)} pairs of choices "
            "of a batch size, at all batch sizes, so that they hold for the best choice although it was picked after "
            "seeing the scores; a difference's ± is widened in the same way. A tie means that these runs show no "
            "difference, not that there is none. Of three or more choices each pair's t test takes up to half "
            "of its variance from all pairs of the batch size, the less the more these differ (Smyth 2004)."
        )
        notes.append(
            "The probability of being the best is that of the mean over seeds, on this data, as far as normal noise of "
            "one variance describes the scores."
        )
    if any(c.conditions > 1 for group in rivals.values() for c in group):
        notes.append(
            "Each choice is represented at each batch size by that one of its conditions (learning rate and so on) "
            "which did best on the validation sets; the test sets have no part in it."
        )
    lost = sum(len(c.runs) - len(c.ended) for group in rivals.values() for c in group)
    if lost:
        notes.append(
            "Scores are means of the runs that ended; the best choice is the one with the fewest diverged runs, then "
            "the highest score. Differences use the seeds in which both runs ended."
        )
    if design.seeds > 1:
        notes.append(
            "Sensitivity to the initial values is the spread over seeds; a seed sets the initial values, the order of "
            "the batches and, unless the test set is given, the split."
        )
    if not any(c.choice == baseline for group in rivals.values() for c in group):
        notes.append(
            f"The benefits are measured against {baseline!r}, which is not among these runs: add it to the norms."
        )
    return notes
