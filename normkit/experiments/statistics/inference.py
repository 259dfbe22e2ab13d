"""Statistics of small samples, as plain functions of numbers: intervals, tests of means, adjusted p-values."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

CONFIDENCE = 0.95
POWER = 0.8
MOST_SEEDS = 1000
_RESAMPLES = 9999
_LIKE = 1e4  # half the degrees of freedom from which variances count as equal


class Estimate(NamedTuple):
    """A mean with its standard error, from n values; what the error is divided by has `freedom` degrees of freedom."""

    mean: float
    error: float
    n: int
    freedom: float

    @property
    def p_value(self) -> float:
        """Two-sided p-value of the mean being zero."""
        if self.error == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.freedom))

    def half_width(self, confidence: float = CONFIDENCE) -> float:
        """Half the width of the t interval."""
        return float(stats.t.isf((1 - confidence) / 2, self.freedom) * self.error)


def estimate(values: Sequence[float], step: float = 0.0, overlap: float = 0.0) -> Estimate | None:
    """Estimate a mean from scores, or from paired differences of scores.

    Parameters
    ----------
    values : sequence of float
    step : float
        Scores that come in steps, as accuracies do, may be equal by coincidence and would look certain:
        ``step**2 / 12``, the variance that rounding to steps hides, is added to theirs.
    overlap : float
        For folds, test rows divided by training rows: the scores share training rows, are therefore correlated, and
        their mean has the variance ``(1 / n + overlap) * s**2`` in place of ``s**2 / n`` (Nadeau and Bengio 2003,
        Inference for the generalization error; Bouckaert and Frank 2004 for repeated folds).

    Returns
    -------
    Estimate or None
        None for fewer than two values, or where their variance is not finite.
    """
    n = len(values)
    if n < 2:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.mean(values))
        error = float(np.sqrt((np.var(values, ddof=1) + step**2 / 12) * (1 / n + overlap)))
    return Estimate(mean, error, n, n - 1) if np.isfinite([mean, error]).all() else None


def moderated(differences: Sequence[Estimate], choices: int, overlap: float = 0.0) -> list[Estimate]:
    """Let the estimates of all pairs of some choices share a part of their variance.

    A t test of 3 or 5 pairs fails for the few degrees of freedom of its variance. The moderated t test (Smyth 2004,
    Linear models and empirical Bayes methods) takes a mean of the pair's own variance and a common one, by the
    degrees of freedom of both; those of the common one follow from how much the logarithms of the variances scatter
    beyond chance (its section 6.2): pairs as unlike as those with and without a choice that some seeds ruin share
    little. Here the common variance counts as much as the own at most, since pairs of the same choices are no
    independent ones. In equal shares they would give ``(n - 1) * 4 * (choices - 1) / (choices + 2)`` degrees of
    freedom if all variances were equal (Satterthwaite); half of the gain is used, and 2 (n - 1) at most, with which
    simulated false alarms stay near or below 5 %. Two choices have nothing to share.

    Parameters
    ----------
    differences : sequence of Estimate
        Of equally many values, or nearly so.
    choices : int
        Number of choices that the pairs are made of.
    overlap : float
        That of the estimates.
    """
    variances = np.array([one.error**2 / (1 / one.n + overlap) for one in differences])
    if choices < 3 or len(differences) < 2 or not variances.all():
        return list(differences)
    freedom = float(np.mean([one.freedom for one in differences]))
    common, prior = _common_variance(variances, freedom)
    share = min(prior, freedom) / (min(prior, freedom) + freedom)
    gain = 1 + 2 * share * (min(2.0, (5 * choices - 2) / (2 * choices + 4)) - 1)
    return [
        one._replace(
            error=float(np.sqrt((share * common + (1 - share) * own) * (1 / one.n + overlap))),
            freedom=one.freedom * gain,
        )
        for one, own in zip(differences, variances)
    ]  # fmt: skip


def _common_variance(variances, freedom):
    """Return what variances of equal degrees of freedom have in common, and how many degrees of freedom that has."""
    half = freedom / 2
    logs = np.log(variances) - special.digamma(half) + np.log(half)
    scatter = float(np.var(logs, ddof=1) - special.polygamma(1, half))
    if scatter <= special.polygamma(1, _LIKE):
        return float(np.mean(variances)), np.inf
    prior = optimize.brentq(lambda x: special.polygamma(1, x) - scatter, 1e-6, _LIKE)
    return float(np.exp(np.mean(logs) + special.digamma(prior) - np.log(prior))), 2 * prior


def bootstrap_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """Bias-corrected and accelerated bootstrap interval of the mean (Efron 1987), by SciPy, always the same draws.

    None for fewer than two different values. With fewer than about ten values it is too narrow.
    """
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    interval = stats.bootstrap(
        (np.asarray(values, float),), np.mean, n_resamples=_RESAMPLES, confidence_level=confidence, method="BCa",
        random_state=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    low, high = float(interval.low), float(interval.high)
    return (low, high) if np.isfinite([low, high]).all() else None


def holm_factors(p_values: Sequence[float]) -> np.ndarray:
    """Factors that make p-values Holm's (1979): ``min(1, factor * p)`` may be held against 5 % all together.

    The smallest of m is multiplied by m, the next by m - 1, and so on, unless that made it smaller than the one
    before.
    """
    p = np.asarray(p_values, float)
    factors = np.empty(len(p))
    highest = 0.0
    for rank, i in enumerate(np.argsort(p, kind="stable")):
        highest = max(highest, (len(p) - rank) * p[i])
        factors[i] = highest / p[i] if p[i] > 0 else len(p) - rank
    return factors


def seeds_needed(found: Estimate, factor: float, folds: int = 1, overlap: float = 0.0) -> int | None:
    """Return about how many seeds would show the difference that was found, if it is the true one.

    That is: if mean and spread are those found, a t test at the level ``0.05 / factor`` would reject "no
    difference" in 80 % of experiments with that many seeds (of `folds` values each). None: more than 1000, or no
    number at all.
    """
    if found.mean == 0 or found.error == 0:
        return None
    spread = found.error / np.sqrt(1 / found.n + overlap)
    gain = found.freedom / (found.n - 1)

    def power(seeds):
        n = seeds * folds
        shift = abs(found.mean) / (spread * np.sqrt(1 / n + overlap))
        limit = stats.t.isf((1 - CONFIDENCE) / factor / 2, gain * (n - 1))
        with np.errstate(divide="ignore"):  # that SciPy 1.13 warns of, on its way to the right number
            return 1.0 if shift > 5 * limit else float(stats.nct.sf(limit, gain * (n - 1), shift))

    least = 2 if folds == 1 else 1
    found_at = bisect_left(range(least, MOST_SEEDS + 1), POWER, key=power) + least
    return found_at if found_at <= MOST_SEEDS else None


def probability_best(
    scores: np.ndarray, step: float = 0.0, overlap: float = 0.0, draws: int = _RESAMPLES
) -> np.ndarray | None:
    """Return the probability that each choice has the highest mean score, given the scores and no prior opinion.

    Scores are taken as the sum of an effect of the run's seed (and fold), the choice's mean and normal noise of one
    variance, with flat priors on effects and on the logarithm of the variance. The posterior of the means of k choices
    from n paired runs is a multivariate t distribution with ``(n - 1) * (k - 1)`` degrees of freedom (Gelman et al.
    2013, Bayesian data analysis, 3.2 and 14.2), from which is drawn, always alike. For two choices the probability is
    one minus half the p-value of the paired t test. (A bootstrap over 3 to 5 seeds is sure where the test is not.)

    Parameters
    ----------
    scores : ndarray of shape (runs, choices)
        Of the choices that can be the best. A run in which one of them has none, NaN, is left out.
    step, overlap : float
        As for `estimate`.

    Returns
    -------
    ndarray of shape (choices,) or None
        None where fewer than two runs have the scores of all.
    """
    x = scores[np.isfinite(scores).all(axis=1)]
    n, k = x.shape
    if k == 1:
        return np.ones(1)
    if n < 2:
        return None
    means = x.mean(axis=0)
    noise = x - means - x.mean(axis=1, keepdims=True) + x.mean()
    freedom = (n - 1) * (k - 1)
    # half of what `estimate` adds: a difference of two has the same as there
    variance = (noise**2).sum() / freedom + step**2 / 24
    rng = np.random.default_rng(0)
    spread = np.sqrt(variance * (1 / n + overlap) * freedom / rng.chisquare(freedom, (draws, 1)))
    drawn = means + spread * rng.standard_normal((draws, k))
    highest = drawn.max(axis=1, keepdims=True)
    # without noise, means of the same scores in another order differ in the last place
    best = drawn >= highest - 1e-12 * np.maximum(1.0, np.abs(highest))
    return (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
