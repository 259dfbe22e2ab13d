"""Runs put in order: those of a condition, and the choices among which is judged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import numpy as np

from normkit.experiments.records import Condition, Run

_LARGEST = 1e60  # its third power, which a bootstrap interval takes, is still a number


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
    """Mean of the usable ones among the values; None where there are none.

    To 13 digits: means of accuracies that are the same but for rounding are equal, whatever the order of the runs.
    """
    known = [value for value in values if usable(value)]
    return float(f"{np.mean(known):.13g}") if known else None


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


def paired(first: Candidate, second: Candidate, value=lambda run: run.test_score) -> list[float]:
    """Differences of a value of two candidates' runs, within each seed and fold in which both have it."""
    found = []
    for key in first.ended:
        if key in second.ended:
            a, b = value(first.ended[key]), value(second.ended[key])
            if usable(a) and usable(b):
                found.append(float(a - b))
    return found
