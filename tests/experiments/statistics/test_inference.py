"""Intervals and tests against SciPy, by hand, and by simulation."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, special, stats

from normkit.experiments.statistics.inference import (
    Estimate,
    _common_variance,
    bootstrap_interval,
    estimate,
    holm_factors,
    moderated,
    probability_best,
    seeds_needed,
)


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_and_p_value_are_scipys(n, confidence):
    values = np.random.default_rng(n).normal(0.3, 1, n)
    found, reference = estimate(values), stats.ttest_1samp(values, 0)
    low, high = reference.confidence_interval(confidence)
    assert found.mean == pytest.approx(values.mean())
    assert found.half_width(confidence) == pytest.approx((high - low) / 2, rel=1e-12)
    assert found.p_value == pytest.approx(reference.pvalue, rel=1e-12)


def test_half_width_by_hand():
    # 1, 2, 3: deviation 1, error 1 / sqrt(3); t(0.975, 2) = 4.302653 from the table
    assert estimate([1, 2, 3]).half_width() == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("values", [[], [0.5], [1e300, -1e300], [0.5, math.inf]])
def test_no_estimate(values):
    assert estimate(values) is None


def test_equal_values_in_steps_are_not_certain():
    assert estimate([0.5, 0.5]).p_value == 0 and estimate([0.0, 0.0]).p_value == 1
    # variance of a uniform rounding error; t(0.975, 1) = 12.7062
    assert estimate([0.5, 0.5], step=0.01).half_width() == pytest.approx(12.7062 * 0.01 / math.sqrt(12 * 2), rel=1e-5)


def test_overlap_is_the_variance_of_nadeau_and_bengio():
    # ten-fold cross-validation: 1 / 10 + 1 / 9 in place of 1 / 10
    values = np.random.default_rng(0).normal(0.3, 1, 10)
    t = values.mean() / math.sqrt((1 / 10 + 1 / 9) * values.var(ddof=1))
    assert estimate(values, overlap=1 / 9).p_value == pytest.approx(2 * stats.t.sf(abs(t), 9))


def test_overlap_covers_the_correlation_of_folds():
    # scores whose correlation is that of the formula's derivation, n_test / (n_test + n_train)
    rng, folds, repeats = np.random.default_rng(1), 5, 2000
    shared, own = np.sqrt(1 / folds), np.sqrt(1 - 1 / folds)
    scores = shared * rng.normal(size=(repeats, 1)) + own * rng.normal(size=(repeats, folds))
    naive = np.mean([estimate(row).p_value < 0.05 for row in scores])
    corrected = np.mean([estimate(row, overlap=1 / (folds - 1)).p_value < 0.05 for row in scores])
    # exact for this correlation; four standard errors of a share of 5 %
    assert abs(corrected - 0.05) < 4 * math.sqrt(0.05 * 0.95 / repeats) < naive - 0.05


def test_two_choices_have_no_variance_to_share():
    (one,) = moderated([estimate([1.0, 2.0, 4.0])], 2)
    assert one == pytest.approx(estimate([1.0, 2.0, 4.0]))


def test_three_choices_share_half_of_their_variance():
    # differences of a, b, c: variances 1, 4 and 7, their mean 4; one in two halves
    first, second, third = [0.0, 1, 2], [0.0, 2, 4], [0, math.sqrt(7), 2 * math.sqrt(7)]
    found = moderated([estimate(values) for values in (first, second, third)], 3)
    assert [one.error**2 * 3 for one in found] == pytest.approx([2.5, 4, 5.5])
    assert [one.freedom for one in found] == pytest.approx([2.6] * 3)
    # where one pair has no estimate, the two that are left share
    assert [one.error**2 * 3 for one in moderated([estimate(first), estimate(second)], 3)] == pytest.approx(
        [1.75, 3.25]
    )
    assert moderated([estimate(first)], 3) == [estimate(first)]
    assert moderated([estimate(first), estimate(second)], 2) == [estimate(first), estimate(second)]
    assert moderated([estimate(first)] * 28, 8)[0].freedom == pytest.approx(2 * 1.9)
    assert moderated([estimate(first)] * 190, 20)[0].freedom == 4 and moderated([], 0) == []


def test_pairs_as_unlike_as_those_with_a_ruined_choice_share_little():
    rng, found = np.random.default_rng(0), []
    for _ in range(200):
        scores = rng.normal(size=(5, 6)) * np.array([1, 1, 1, 1, 20])[:, None]
        pairs = [estimate(scores[a] - scores[b]) for a, b in itertools.combinations(range(5), 2)]
        found.append([one.error / pair.error for one, pair in zip(moderated(pairs, 5), pairs)])
    assert 0.85 < np.median(np.array(found)[:, 3]) <= 1  # with the ruined one
    assert 1 < np.median(np.array(found)[:, 0]) < 2  # equal shares would make it 9 times as large


def test_the_common_variance_is_that_of_a_scaled_inverse_chi_square():
    # variances are drawn as the method assumes (Smyth 2004, section 3): 4 degrees of freedom of their own, 7 common
    rng = np.random.default_rng(0)
    variances = 3 * 7 / rng.chisquare(7, 100_000) * rng.chisquare(4, 100_000) / 4
    assert _common_variance(variances, 4) == pytest.approx((3, 7), rel=0.05)


def test_the_common_variance_is_limmas():
    """Smyth 2004, section 6.2, with his Newton iteration for the inverse of the trigamma function (appendix)."""
    variances, freedom = np.array([0.2, 1.0, 3.0, 30.0, 0.5]), 3.0
    e = np.log(variances) - special.psi(freedom / 2) + math.log(freedom / 2)
    scatter = ((e - e.mean()) ** 2).sum() / (len(e) - 1) - special.zeta(2, freedom / 2)
    y = 0.5 + 1 / scatter
    for _ in range(50):
        y += special.zeta(2, y) * (1 - special.zeta(2, y) / scatter) / (-2 * special.zeta(3, y))
    expected = math.exp(e.mean() + special.psi(y) - math.log(y)), 2 * y
    assert _common_variance(variances, freedom) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("beyond", [0.0, 5e-5])
def test_variances_that_scatter_by_chance_alone_are_all_common(beyond):
    # logarithms d apart have the variance d**2 / 2; what is not 1e-4 beyond chance is none
    d = math.sqrt(2 * (special.zeta(2, 2.0) + beyond))
    common, freedom = _common_variance(np.exp([0.0, d]), 4.0)
    assert common == pytest.approx((1 + math.exp(d)) / 2) and freedom == math.inf


@pytest.mark.parametrize("spreads", [[1] * 5, [1, 10, 1, 10, 1], [10, 1, 1, 1, 1]])
@pytest.mark.parametrize("n", [3, 6])
def test_shared_variance_raises_no_false_alarms(spreads, n):
    rng, repeats = np.random.default_rng(n), 600
    pairs = list(itertools.combinations(range(5), 2))
    scores = rng.normal(size=(repeats, 5, n)) * np.array(spreads)[:, None]
    alarms = sum(
        min(one.p_value for one in moderated([estimate(row[a] - row[b]) for a, b in pairs], 5)) < 0.05 / len(pairs)
        for row in scores
    )
    # as often as a rate of 5 % gives in 99 of 100 simulations, or less
    assert alarms <= stats.binom.ppf(0.99, repeats, 0.05)


def test_holm_by_hand():
    # 0.01 * 4, 0.02 * 3, 0.03 * 2 raised to the one before, 0.5 * 1
    p = np.array([0.03, 0.01, 0.5, 0.02])
    assert np.minimum(1, holm_factors(p) * p) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm_factors([]).shape == (0,) and list(holm_factors([0.0, 0.0])) == [2, 1]


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_closed_bonferroni_test(seed):
    # Holm 1979: a hypothesis falls just where Bonferroni rejects every set of hypotheses that it is in
    p = np.random.default_rng(seed).uniform(0, 0.1, 5)
    sets = [c for k in range(1, 6) for c in itertools.combinations(range(5), k)]
    closed = [max(min(1, len(c) * p[list(c)].min()) for c in sets if i in c) for i in range(5)]
    assert np.minimum(1, holm_factors(p) * p) == pytest.approx(closed)


def test_bootstrap_covers_the_mean():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        low, high = bootstrap_interval(rng.exponential(size=25))
        covered += low < 1 < high
    assert 85 <= covered <= 99  # 95 %, less what is known to lack at this size


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5, 0.5]])
def test_bootstrap_of_equal_values_is_none(values):
    assert bootstrap_interval(values) is None


def test_bootstrap_is_the_same_each_time_and_within_the_values():
    values = [0.1, 0.2, 0.4]
    low, high = bootstrap_interval(values)
    assert 0.1 <= low < np.mean(values) < high < 0.4 + 1e-12 and bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([0.1, 0.2]) is not None


@pytest.mark.parametrize(("factor", "effect"), [(1, 1.0), (3, 0.8), (10, 0.5)])
def test_so_many_seeds_find_the_difference_in_four_of_five_experiments(factor, effect):
    rng = np.random.default_rng(2)
    pilot = rng.normal(size=10)
    pilot = (pilot - pilot.mean()) / pilot.std(ddof=1) + effect  # effect and deviation exactly so
    seeds = seeds_needed(estimate(pilot), factor)
    trials = rng.normal(effect, 1, (4000, seeds))
    p = stats.ttest_1samp(trials, 0, axis=1).pvalue
    fewer = stats.ttest_1samp(trials[:, :-1], 0, axis=1).pvalue
    # the power with one seed less is below 80 %; 0.02 is three standard errors
    assert np.mean(p < 0.05 / factor) > 0.8 - 0.02 and np.mean(fewer < 0.05 / factor) < 0.8 + 0.02


@pytest.mark.parametrize(("effect", "folds", "overlap"), [(1.0, 1, 0.0), (0.4, 1, 0.0), (1.8, 5, 0.25), (3.22, 1, 0.0)])
def test_the_number_of_seeds_is_the_first_with_that_power(effect, folds, overlap):
    values = np.random.default_rng(2).normal(size=10)
    values = (values - values.mean()) / values.std(ddof=1) + effect

    def power(n):  # of the other tail no part is meant; the noncentral t as a mixture of normals
        limit, shift = stats.t.isf(0.025, n - 1), effect / math.sqrt(1 / n + overlap)

        def density(x):
            return stats.norm.sf(limit * math.sqrt(x / (n - 1)) - shift) * stats.chi2.pdf(x, n - 1)

        return integrate.quad(density, 0, stats.chi2.isf(1e-12, n - 1), limit=200, epsabs=1e-9)[0]

    seeds = seeds_needed(estimate(values, overlap=overlap), 1, folds, overlap)
    assert power(seeds * folds) >= 0.8
    assert seeds == (2 if folds == 1 else 1) or power((seeds - 1) * folds) < 0.8


def test_two_seeds_are_enough_for_a_difference_without_end():
    assert seeds_needed(estimate([1.0, 1.0 + 1e-9, 1.0]), 1) == 2
    assert seeds_needed(estimate([1.0, 1.0]), 1) is None  # of which nothing is known


def test_no_number_of_seeds_is_told_where_none_is_enough():
    assert seeds_needed(estimate([0.0, 0.0], step=0.1), 1) is None
    assert seeds_needed(estimate([-1.0, 1.001]), 1) is None
    # folds of one data set stay correlated, however many seeds
    assert seeds_needed(estimate([-1.0, 1.2, 0.1, 0.3, 0.2], overlap=0.25), 1, folds=5, overlap=0.25) is None
    assert seeds_needed(estimate([0.9, 1.2, 1.1, 1.3, 1.2], overlap=0.25), 1, folds=5, overlap=0.25) == 1


def test_of_two_the_probability_is_that_of_the_paired_t_test():
    scores = np.array([[0.5, 0.56], [0.7, 0.69], [0.6, 0.68], [0.55, 0.57]])
    p = stats.ttest_rel(*scores.T).pvalue
    assert probability_best(scores, draws=200_000) == pytest.approx([p / 2, 1 - p / 2], abs=0.004)
    p = stats.ttest_rel(*scores[:2].T).pvalue
    assert probability_best(scores[:2], draws=200_000) == pytest.approx([p / 2, 1 - p / 2], abs=0.004)


def test_the_probability_of_being_the_best_is_a_share_of_experiments():
    # where a choice is given 60 to 80 %, it is the best as often
    rng = np.random.default_rng(1)
    given, right = [], []
    for _ in range(1500):
        means = rng.normal(size=4) * 3
        scores = means + rng.normal(size=(4, 1)) + rng.normal(size=(4, 4)) * 3
        found = probability_best(scores, draws=500)
        given.append(found.max())
        right.append(found.argmax() == means.argmax())
    chosen = (np.array(given) > 0.6) & (np.array(given) < 0.8)
    assert np.mean(np.array(right)[chosen]) == pytest.approx(np.mean(np.array(given)[chosen]), abs=0.06)


def test_equal_choices_share_the_probability():
    scores = np.repeat(np.random.default_rng(0).normal(size=(5, 1)), 4, axis=1)
    assert probability_best(scores) == pytest.approx([0.25] * 4)


def test_a_run_without_a_score_of_one_choice_is_left_out():
    scores = np.array([[0.5, 0.6], [0.6, 0.65], [0.7, np.nan], [np.nan, 0.1], [0.5, 0.55]])
    np.testing.assert_array_equal(probability_best(scores), probability_best(scores[[0, 1, 4]]))
    assert probability_best(scores[1:4]) is None and list(probability_best(scores[:1, :1])) == [1]


@pytest.mark.parametrize("step", [1 / 30, 0.1])
def test_of_two_in_steps_the_probability_is_that_of_the_paired_test(step):
    scores = np.array([[0.5, 0.6], [0.7, 0.7], [0.6, 0.7], [0.5, 0.6]])
    p = estimate(scores[:, 1] - scores[:, 0], step).p_value
    assert probability_best(scores, step, draws=200_000)[1] == pytest.approx(1 - p / 2, abs=0.004)


def test_steps_and_overlapping_folds_make_the_probability_less_sure():
    scores = np.array([[0.5, 0.6], [0.6, 0.7], [0.7, 0.8]])
    sure, stepped = probability_best(scores)[1], probability_best(scores, step=0.1)[1]
    assert sure == 1 and 0.8 < probability_best(scores, step=0.1, overlap=0.5)[1] < stepped < 1
    assert probability_best(scores[:1]) is None


@pytest.mark.parametrize("error", [0.25, 0.4])
def test_shared_variance_needs_fewer_seeds_by_its_degrees_of_freedom(error):
    # 8 degrees of freedom from 5 values: twice those of the values alone, for any number of seeds
    found = Estimate(1.0, error, 5, 8.0)

    def power(n):  # simulated: a mean, and a variance apart from it
        rng, freedom = np.random.default_rng(0), 2 * (n - 1)
        error_of_n = error * math.sqrt(5 / n)
        means = rng.normal(1.0, error_of_n, 50_000)
        errors = error_of_n * np.sqrt(rng.chisquare(freedom, 50_000) / freedom)
        return np.mean(means / errors > stats.t.isf(0.025, freedom))

    seeds = seeds_needed(found, 1)
    assert power(seeds) > 0.81 and power(seeds - 1) < 0.79  # five standard errors from 80 %
    assert seeds < seeds_needed(found._replace(freedom=4.0), 1)
