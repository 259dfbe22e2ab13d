"""Runs put in order: conditions, the choices among which is judged, and what pairs of choices show."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import numpy as np

from normkit.experiments.inference import Estimate, estimate, holm_factors, moderated
from normkit.experiments.records import Condition, Contrast, Run

ALPHA = 0.05
_LARGEST = 1e60  # its third power, which a bootstrap interval takes, is still a number
METRICS = {"accuracy": "accuracy", "r2": "R²"}


def usable(value: float | None) -> TypeGuard[float]:
    """Whether a value is there and can be counted with; R² may be anything below 1, too large to be squared."""
    return value is not None and abs(value) < _LARGEST  # NaN is not


def ended(run: Run) -> bool:
    """Whether the run has a test score to count with."""
    return run.status == "ok" and usable(run.test_score)


def diverged(run: Run) -> bool:
    """Whether the run diverged; so did one that ended with a score that cannot be counted with."""
    return run.status == "diverged" or (run.status == "ok" and not ended(run))


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the usable ones among the values; None where there are none."""
    known = [value for value in values if usable(value)]
    return float(np.mean(known)) if known else None


def excess(run: Run) -> float | None:
    """Training score minus validation score: the gap of one run."""
    train, validation = run.train_score, run.validation_score
    return train - validation if usable(train) and usable(validation) else None


def by_condition(runs: Sequence[Run]) -> dict[Condition, list[Run]]:
    """Group runs, in order of appearance; of two with the same condition, seed and fold the later one counts."""
    groups: dict[Condition, dict[tuple[int, int], Run]] = {}
    for run in runs:
        groups.setdefault(run.config, {})[run.seed, run.fold] = run
    return {condition: list(group.values()) for condition, group in groups.items()}


@dataclass
class Candidate:
    """A choice at one batch size, as one condition represents it."""

    choice: str
    config: Condition
    runs: list[Run]
    conditions: int = 1  # out of how many
    ended: dict[tuple[int, int], Run] = field(init=False)  # by (seed, fold)

    def __post_init__(self):
        self.ended = {(run.seed, run.fold): run for run in self.runs if ended(run)}

    @property
    def diverged(self) -> int:
        """Number of runs that diverged."""
        return sum(diverged(run) for run in self.runs)

    @property
    def failed(self) -> int:
        """Number of runs that ended with an error."""
        return sum(run.status == "failed" for run in self.runs)

    @property
    def test_score(self) -> float | None:
        """Mean of the runs that ended."""
        return mean_of(run.test_score for run in self.ended.values())

    def rank(self) -> tuple[float, float]:
        """Sort key, the best first: the fewest diverged runs, then the highest mean test score."""
        score = self.test_score
        return self.diverged / len(self.runs), np.inf if score is None else -score


def _validation_rank(candidate):
    """Sort key of conditions, which must not look at the test set, the best first."""
    score = mean_of(run.validation_score for run in candidate.ended.values())
    loss = mean_of(run.validation_loss for run in candidate.ended.values())
    trained = [np.inf if value is None else value for value in (None if score is None else -score, loss)]
    return not candidate.ended, candidate.diverged / len(candidate.runs), *trained


def candidates(groups: dict[Condition, list[Run]]) -> dict[int, list[Candidate]]:
    """Return the candidates of each batch size, one a choice, in order of appearance.

    Where other axes are in the grid (learning rate, activation, ...) a choice is represented by the condition of
    them that did best on the validation sets: the fewest diverged runs, then the highest mean score.
    """
    found: dict[int, dict[str, list[Candidate]]] = {}
    for condition, runs in groups.items():
        rivals = found.setdefault(condition.batch_size, {}).setdefault(condition.choice, [])
        rivals.append(Candidate(condition.choice, condition, runs))
    result = {}
    for size, choices in found.items():
        result[size] = [min(rivals, key=_validation_rank) for rivals in choices.values()]
        for candidate, rivals in zip(result[size], choices.values()):
            candidate.conditions = len(rivals)
    return result


class Design:
    """What all comparisons of an experiment have in common.

    Attributes
    ----------
    metric : str
    seeds, folds : int
        Numbers of different ones.
    overlap : float
        Test rows divided by the other rows, for folds; see `normkit.experiments.inference.estimate`.
    step : float
        Between two possible test scores of one run; 0 for a regression.
    """

    def __init__(self, runs: Sequence[Run]):
        self.metric = runs[0].metric
        self.seeds = len({run.seed for run in runs})
        self.folds = len({run.fold for run in runs})
        self.overlap = 1 / (self.folds - 1) if self.folds > 1 else 0.0
        samples = [run.test_samples for run in runs if run.test_samples > 0]
        self.step = 1 / min(samples) if self.metric == "accuracy" and samples else 0.0

    @property
    def word(self) -> str:
        """Name of the metric in a sentence."""
        return METRICS.get(self.metric, self.metric)

    def estimate(self, values: Sequence[float]) -> Estimate | None:
        """Estimate a mean over seeds and folds, of scores or of their differences."""
        return estimate(values, self.step, self.overlap)

    @property
    def more(self) -> str:
        """The option that brings more runs."""
        return "--seeds 5" if self.seeds < 5 else "more --seeds"

    def amount(self, pairs: int) -> str:
        """Say how many runs something rests on."""
        return f"{pairs} runs" if self.folds > 1 else f"{pairs} seed{'s' if pairs != 1 else ''}"


def paired(first: Candidate, second: Candidate, value=lambda run: run.test_score) -> list[float]:
    """Differences of a value of two candidates' runs, within each seed and fold in which both have it."""
    found = []
    for key in first.ended:
        if key in second.ended:
            a, b = value(first.ended[key]), value(second.ended[key])
            if usable(a) and usable(b):
                found.append(float(a - b))
    return found


class Comparisons:
    """All pairs of choices at all batch sizes, adjusted together.

    The best choice is picked after seeing the scores. A claim about it holds nevertheless, because every pair it could
    have been in is in the family of Holm's procedure: no true "no difference" in the whole table is denied with a
    probability of more than 5 %.
    """

    def __init__(self, groups: dict[int, list[Candidate]], design: Design):
        estimates: dict[tuple[int, str, str], Estimate] = {}
        for size, rivals in groups.items():
            found = {}
            for i, first in enumerate(rivals):
                for second in rivals[i + 1 :]:
                    difference = design.estimate(paired(first, second))
                    if difference is not None:
                        found[size, first.choice, second.choice] = difference
            compared = len({choice for _, *pair in found for choice in pair})
            estimates.update(zip(found, moderated(list(found.values()), compared, design.overlap)))
        factors = holm_factors([difference.p_value for difference in estimates.values()])
        self._found = {key: (estimates[key], float(factor)) for key, factor in zip(estimates, factors)}

    def __len__(self):
        return len(self._found)

    def estimate(self, batch_size: int, choice: str, against: str) -> tuple[Estimate, float] | None:
        """Return the mean difference of two choices and Holm's factor; None where too few pairs ended."""
        if (batch_size, choice, against) in self._found:
            return self._found[batch_size, choice, against]
        if (batch_size, against, choice) in self._found:
            found, factor = self._found[batch_size, against, choice]
            return found._replace(mean=-found.mean), factor
        return None

    def contrast(self, batch_size: int, choice: str, against: str) -> Contrast | None:
        """Return the difference as a record.

        Its interval is widened as its p-value is: it leaves zero out just where the adjusted p-value is below 0.05.
        """
        both = self.estimate(batch_size, choice, against)
        if both is None:
            return None
        found, factor = both
        width = found.half_width(1 - ALPHA / factor)
        return Contrast(
            batch_size, choice, against, found.mean, found.mean - width, found.mean + width,
            found.p_value, min(1.0, factor * found.p_value), found.n,
        )  # fmt: skip


def differs(contrast: Contrast | None) -> bool:
    """Whether the difference is more than chance explains."""
    return contrast is not None and contrast.p_adjusted < ALPHA
