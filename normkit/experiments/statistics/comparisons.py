"""What pairs of choices show, all of them adjusted together."""

from collections.abc import Sequence

from normkit.experiments.records import VALIDATION_SHARE, Contrast, Run, metric_name
from normkit.experiments.statistics.candidates import Candidate, paired
from normkit.experiments.statistics.inference import Estimate, estimate, holm_factors, moderated

ALPHA = 0.05


class Design:
    """What all comparisons of an experiment have in common.

    Attributes
    ----------
    metric : str
    seeds, folds : int
        Numbers of different ones.
    overlap : float
        Test rows divided by training rows, for folds; see `inference.estimate`.
    step : float
        Between two possible test scores of one run; 0 for a regression.
    """

    def __init__(self, runs: Sequence[Run]):
        self.metric = runs[0].metric
        self.seeds = len({run.seed for run in runs})
        self.folds = len({run.fold for run in runs})
        self.overlap = 1 / (self.folds - 1) / (1 - VALIDATION_SHARE) if self.folds > 1 else 0.0
        samples = [run.test_samples for run in runs if run.test_samples > 0]
        self.step = 1 / min(samples) if self.metric == "accuracy" and samples else 0.0

    @property
    def word(self) -> str:
        """Name of the metric in a sentence."""
        return metric_name(self.metric)

    def estimate(self, values: Sequence[float]) -> Estimate | None:
        """Estimate a mean over seeds and folds, of scores or of their differences."""
        return estimate(values, self.step, self.overlap)

    @property
    def more(self) -> str:
        """The option that brings more runs."""
        return "--seeds 5" if self.seeds < 5 else "more --seeds"

    def amount(self, pairs: int) -> str:
        """Say how many runs something rests on, two at least."""
        return f"{pairs} runs" if self.folds > 1 else f"{pairs} seeds"


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
