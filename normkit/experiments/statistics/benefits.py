"""The four benefits that textbooks claim for batch normalization, each measured for every norm.

Against the baseline at the same batch size, each represented by its best condition on the validation sets. Where the
grid cannot tell, the value is None and the sentence says what would.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from normkit.experiments.records import Benefit, Condition, Run
from normkit.experiments.statistics.candidates import Candidate, diverged, ended, excess, mean_of, paired
from normkit.experiments.statistics.comparisons import ALPHA, Design
from normkit.experiments.statistics.inference import holm_factors
from normkit.experiments.statistics.texts import decimals, divergence, p_text

_FEWEST_SEEDS = 3
_SENSITIVITY: Literal["sensitivity to initial values"] = "sensitivity to initial values"


class _Measured(NamedTuple):
    """A benefit whose sentence waits for the adjustment of its test, or is whole where there is none."""

    benefit: Benefit
    p_value: float | None = None
    told: Callable[[float], str] = str  # what is said of the test, given Holm's factor


def measure(
    groups: dict[Condition, list[Run]], rivals: dict[int, list[Candidate]], design: Design, baseline: str
) -> list[Benefit]:
    """Return four benefits for every choice but the baseline, at every batch size that has the baseline."""
    found: dict[str, list] = {"speed": [], "rate": [], "sensitivity": [], "gap": []}
    pairs = []
    for group in rivals.values():
        plain = next((c for c in group if c.choice == baseline), None)
        pairs += [(choice, plain) for choice in group if plain is not None and choice is not plain]
    found["speed"] = [_speed_up(choice, plain) for choice, plain in pairs]
    found["rate"] = [_largest_rate(choice, plain, groups, design) for choice, plain in pairs]
    # tests of one benefit hold together, over norms and batch sizes
    found["sensitivity"] = _adjusted([_sensitivity(choice, plain, design) for choice, plain in pairs])
    found["gap"] = _adjusted([_gap(choice, plain, design) for choice, plain in pairs])
    return [benefit for four in zip(*found.values()) for benefit in four]


def _adjusted(measured: list[_Measured]) -> list[Benefit]:
    """Finish the sentences of one benefit with its test, adjusted by Holm's factor."""
    known = [i for i, one in enumerate(measured) if one.p_value is not None]
    factors = holm_factors([measured[i].p_value or 0.0 for i in known])
    benefits = [one.benefit for one in measured]
    for i, factor in zip(known, factors):
        benefit, p_value, told = measured[i]
        p = min(1.0, factor * (p_value or 0.0))
        judgement = "" if p < ALPHA else ": no difference that these runs can show"
        benefits[i] = replace(benefit, sentence=f"{benefit.sentence}; {told(factor)}, {p_text(p)}{judgement}.")
    return benefits


def _head(choice: Candidate) -> str:
    return f"{choice.choice} at batch size {choice.config.batch_size}: "


def _speed_up(choice: Candidate, plain: Candidate) -> Benefit:
    """Epochs until the validation loss is as low as the baseline's lowest in the same seed and fold.

    A run that does not get there, or diverges, is counted as slower than any that does, which is all that the median
    needs.
    """
    ratios, mine, theirs = [], [], []
    for run in choice.runs:
        key = run.seed, run.fold
        curve = plain.ended[key].curves.get("val_loss") if key in plain.ended else None
        own = [] if diverged(run) else run.curves.get("val_loss") or None
        if not curve or own is None or run.status == "failed":
            continue
        target = int(np.argmin(curve)) + 1
        reached = next((epoch for epoch, loss in enumerate(own, start=1) if loss <= curve[target - 1]), None)
        theirs.append(target)
        mine.append(np.inf if reached is None else reached)
        ratios.append(0.0 if reached is None else target / reached)
    size, head = choice.config.batch_size, _head(choice)
    if not ratios:
        sentence = f"{head}no runs of both with validation curves, so that no speed-up can be told."
        return Benefit("speed-up", size, choice.choice, None, None, "epochs", sentence)
    baseline = float(np.median(theirs))
    count, there = len(ratios), int(np.isfinite(mine).sum())
    what = f"{plain.choice}'s lowest validation loss"
    if 2 * there <= count:
        sentence = (
            f"{head}{what} (epoch {baseline:g}) was reached in {there} of {count} runs, so that there is no "
            "median; more --epochs would tell whether it is."
        )
        return Benefit("speed-up", size, choice.choice, None, baseline, "epochs", sentence)
    value, ratio = float(np.median(mine)), float(np.median(ratios))
    faster = sum(r > 1 for r in ratios)
    sentence = (
        f"{head}{what} is reached in {value:g} epochs instead of {baseline:g} (medians; {ratio:.2g} times as fast, "
        f"faster in {faster} of {count} runs{f', not reached in {count - there}' if there < count else ''})."
    )
    return Benefit("speed-up", size, choice.choice, value, baseline, "epochs", sentence)


def _trains(run: Run) -> bool | None:
    """Whether a run learned anything: its score is above the trivial one, beyond two standard errors of an accuracy.

    None where the trivial score is not known.
    """
    if run.test_score is None or not ended(run):
        return False
    if run.metric != "accuracy":
        return run.test_score > (run.trivial_score or 0.0)
    if run.trivial_score is None:
        return None
    share = run.trivial_score
    return run.test_score > share + 2 * np.sqrt(share * (1 - share) / max(run.test_samples, 1))


def _rates(choice: Candidate, groups: dict[Condition, list[Run]]) -> dict[float, bool | None]:
    """Learning rates tried with the candidate's other settings, and whether at least half of their runs train."""
    found: dict[float, bool | None] = {}
    for condition, runs in groups.items():
        alike = condition.normalization == choice.config.normalization  # most conditions end here, which is cheap
        if not alike or replace(condition, learning_rate=choice.config.learning_rate) != choice.config:
            continue
        trained = [_trains(run) for run in runs if run.status != "failed"]
        if trained:
            unknown = any(one is None for one in trained)
            found[condition.learning_rate] = None if unknown else 2 * sum(map(bool, trained)) >= len(trained)
    return dict(sorted(found.items()))


def _largest(rates: dict[float, bool | None]) -> float | None:
    return max((rate for rate, trains in rates.items() if trains), default=None)


def _rate_text(rates: dict[float, bool | None]) -> str:
    largest = _largest(rates)
    if largest is None:
        return f"none of {', '.join(f'{rate:g}' for rate in rates)}"
    return f"{largest:g}{' or more, the largest tried' if largest == max(rates) else ''}"


def _largest_rate(choice: Candidate, plain: Candidate, groups: dict[Condition, list[Run]], design: Design) -> Benefit:
    """Largest learning rate with which at least half of the runs end, and beat the trivial score."""
    mine, theirs = _rates(choice, groups), _rates(plain, groups)
    size, head, unit = choice.config.batch_size, _head(choice), "learning rate"
    if len(mine) < 2 or len(theirs) < 2:
        sentence = (
            f"{head}the largest learning rate that trains needs several, as with --learning-rates 0.001,0.01,0.1,1."
        )
        return Benefit("largest learning rate", size, choice.choice, None, None, unit, sentence)
    if None in (*mine.values(), *theirs.values()):
        sentence = f"{head}the runs do not say what a trivial prediction scores; run them again with this version."
        return Benefit("largest learning rate", size, choice.choice, None, None, unit, sentence)
    sentence = (
        f"{head}trains with a learning rate of {_rate_text(mine)}; {plain.choice} with {_rate_text(theirs)} "
        f"(half of the runs end with a test {design.word} better than trivial)."
    )
    return Benefit("largest learning rate", size, choice.choice, _largest(mine), _largest(theirs), unit, sentence)


def _by_seed(candidate: Candidate) -> dict[int, float]:
    """Mean test score over the folds of each seed."""
    found: dict[int, list[float | None]] = {}
    for (seed, _), run in candidate.ended.items():
        found.setdefault(seed, []).append(run.test_score)
    means = {seed: mean_of(scores) for seed, scores in found.items()}
    return {seed: mean for seed, mean in means.items() if mean is not None}


def _sensitivity(choice: Candidate, plain: Candidate, design: Design) -> _Measured:
    """Standard deviation of the test score over the seeds, compared by Brown and Forsythe's test (1974)."""
    mine, theirs = _by_seed(choice), _by_seed(plain)
    size, head = choice.config.batch_size, _head(choice)
    seeds = [seed for seed in mine if seed in theirs]
    lost = divergence([plain, choice])
    lost = f"; lost: {lost}" if lost else ""
    if len(seeds) < _FEWEST_SEEDS:
        sentence = f"{head}the spread over seeds needs three of which both runs end, as with {design.more}{lost}."
        return _Measured(Benefit(_SENSITIVITY, size, choice.choice, None, None, design.word, sentence))
    a, b = [mine[s] for s in seeds], [theirs[s] for s in seeds]
    value, baseline = float(np.std(a, ddof=1)), float(np.std(b, ddof=1))
    digits = decimals(min(value, baseline) or max(value, baseline))
    sentence = (
        f"{head}test {design.word} has a standard deviation of {value:.{digits}f} over {len(seeds)} seeds, "
        f"{plain.choice}'s of {baseline:.{digits}f}{lost}"
    )
    p = _brown_forsythe(a, b)
    sentence = sentence if p is not None else f"{sentence}."
    benefit = Benefit(_SENSITIVITY, size, choice.choice, value, baseline, design.word, sentence)
    return _Measured(benefit, p, lambda factor: "Brown-Forsythe test")


def _brown_forsythe(a: list[float], b: list[float]) -> float | None:
    """p-value of equal spreads; None where neither sample's distance from its median varies."""
    distances = [np.abs(np.asarray(x) - np.median(x)) for x in (a, b)]
    if all(np.ptp(d) == 0 for d in distances):
        return None
    with np.errstate(all="ignore"):
        p = float(stats.levene(a, b, center="median").pvalue)
    return p if np.isfinite(p) else None


def _gap(choice: Candidate, plain: Candidate, design: Design) -> _Measured:
    """Training score minus validation score, and the difference of the two within each seed and fold."""
    keys = [key for key in choice.ended if key in plain.ended]
    value = mean_of(excess(choice.ended[key]) for key in keys)
    baseline = mean_of(excess(plain.ended[key]) for key in keys)
    size, head = choice.config.batch_size, _head(choice)
    if value is None or baseline is None:
        sentence = f"{head}no runs of both ended with training and validation scores, so that no gap can be told."
        return _Measured(Benefit("gap", size, choice.choice, None, None, design.word, sentence))
    found = design.estimate(paired(choice, plain, excess))
    digits = decimals(found.half_width() if found else None)
    sentence = (
        f"{head}training {design.word} is {value:.{digits}f} above validation, {plain.choice}'s {baseline:.{digits}f}"
    )
    if found is None:
        sentence = f"{sentence}; whether that is more than chance needs {design.more}."
        return _Measured(Benefit("gap", size, choice.choice, value, baseline, design.word, sentence))

    def told(factor):
        return f"difference {found.mean:+.{digits}f} ± {found.half_width(1 - ALPHA / factor):.{digits}f}"

    return _Measured(Benefit("gap", size, choice.choice, value, baseline, design.word, sentence), found.p_value, told)
