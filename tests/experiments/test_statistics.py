"""Intervals against SciPy and by hand, and verdicts on planted runs."""

import math

import numpy as np
import pytest
from scipy import stats

from normkit.experiments.runs import Run
from normkit.experiments.statistics import half_width, summarize, verdicts

N = 1000  # test samples of a planted run


def planted(scores, batch_size=8):
    """Runs of {norm: test accuracies by seed}; None stands for a diverged run."""
    return [
        Run(norm, batch_size, seed, N, "diverged")
        if score is None
        else Run(norm, batch_size, seed, N, "ok", score, 0.5, 0.25, 0.01)
        for norm, row in scores.items()
        for seed, score in enumerate(row)
    ]


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_half_width_is_scipys_t_interval(n, confidence):
    values = np.random.default_rng(n).normal(size=n)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert half_width(values, confidence) == pytest.approx((high - low) / 2, rel=1e-12)


def test_half_width_by_hand():
    # 1, 2, 3: deviation 1, error 1 / sqrt(3); t(0.975, 2) = 4.302653 from the table
    assert half_width([1, 2, 3]) == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval(values):
    assert half_width(values) is None


def test_equal_values_in_steps_are_not_certain():
    assert half_width([0.5, 0.5]) == 0
    # variance of a uniform rounding error; t(0.975, 1) = 12.7062
    assert half_width([0.5, 0.5], step=0.01) == pytest.approx(12.7062 * 0.01 / math.sqrt(12 * 2), rel=1e-5)


def test_summary_keeps_the_diverged_apart():
    (cell,) = summarize(planted({"batch": [0.8, None, 0.9]}))
    assert (cell.runs, cell.diverged) == (3, 1)
    assert cell.test_accuracy == pytest.approx(0.85)
    assert cell.half_width == pytest.approx(half_width([0.8, 0.9], step=1 / N))
    assert cell.validation_loss == 0.25 and cell.seconds_per_epoch == 0.01


def test_summary_of_nothing_but_divergence():
    (cell,) = summarize(planted({"batch": [None, None]}))
    assert (cell.diverged, cell.test_accuracy, cell.half_width, cell.validation_loss) == (2, None, None, None)


def test_two_choices_are_compared_as_scipys_paired_test_does():
    random = np.random.default_rng(0)
    a, b = random.normal(0.9, 0.02, 6), random.normal(0.89, 0.02, 6)
    (verdict,) = verdicts(planted({"none": a, "batch": b}))
    sign = 1 if a.mean() > b.mean() else -1
    interval = stats.ttest_rel(a, b).confidence_interval(0.95)
    (difference,) = verdict.differences
    assert difference.mean == pytest.approx(sign * np.mean(a - b))
    # the step of 1 / N widens the interval by less than 1e-3 of itself
    assert difference.half_width == pytest.approx((interval.high - interval.low) / 2, rel=1e-3)


def test_three_choices_widen_the_interval_for_three_pairs():
    scores = {"none": [0.80, 0.82, 0.81], "batch": [0.90, 0.91, 0.95], "layer": [0.85, 0.84, 0.86]}
    (verdict,) = verdicts(planted(scores))
    first = verdict.differences[0]
    assert (verdict.winner, first.against) == ("batch", "layer")
    expected = half_width(np.subtract(scores["batch"], scores["layer"]), 1 - 0.05 / 3, 1 / N)
    assert first.half_width == pytest.approx(expected)


def test_a_planted_difference_is_found_although_the_seeds_differ_more():
    base = np.array([0.70, 0.80, 0.90, 0.75, 0.85])
    (verdict,) = verdicts(planted({"none": base, "batch": base + [0.020, 0.022, 0.018, 0.021, 0.019]}))
    assert verdict.winner == "batch" and verdict.beyond_noise
    assert verdict.sentence.startswith("Batch size 8: batch has the best test accuracy, 0.8200; ")
    assert "; larger than the noise against none (+0.0200 ± " in verdict.sentence


def test_a_difference_to_one_rival_only_is_not_a_victory():
    base = np.array([0.70, 0.80, 0.90, 0.75, 0.85])
    scores = {"none": base, "layer": base + 0.05, "batch": base + [0.053, 0.049, 0.051, 0.048, 0.052]}
    (verdict,) = verdicts(planted(scores))
    assert verdict.winner == "batch" and not verdict.beyond_noise
    assert "larger than the noise against none (" in verdict.sentence
    assert "no difference that 5 seeds can show against layer (" in verdict.sentence


def test_one_seed_shows_nothing():
    (verdict,) = verdicts(planted({"none": [0.1], "batch": [0.9]}))
    assert verdict.winner == "batch" and not verdict.beyond_noise
    assert "too few seeds" in verdict.sentence


def test_equal_gaps_of_two_seeds_show_nothing():
    (verdict,) = verdicts(planted({"none": [0.9, 0.8], "batch": [0.901, 0.801]}))
    assert not verdict.beyond_noise


def test_divergence_costs_the_victory_and_is_told():
    scores = {"none": [0.9, 0.91, 0.9, 0.91, None], "batch": [0.8, 0.81, 0.8, 0.81, 0.8]}
    (verdict,) = verdicts(planted(scores))
    assert verdict.winner == "batch" and not verdict.beyond_noise
    assert verdict.differences[0].seeds == 4
    assert "batch diverged least, with a test accuracy of 0.8040" in verdict.sentence
    assert verdict.sentence.endswith("1 of 5 runs of none diverged.")


def test_a_rival_that_never_ended_is_told_not_compared():
    (verdict,) = verdicts(planted({"none": [None, None], "batch": [0.8, 0.9]}))
    assert verdict.winner == "batch" and not verdict.beyond_noise and not verdict.differences
    assert "2 of 2 runs of none diverged" in verdict.sentence


def test_every_run_diverged():
    (verdict,) = verdicts(planted({"none": [None], "batch": [None]}))
    assert verdict.winner is None and verdict.sentence == "Batch size 8: every run diverged."


def test_batch_sizes_are_judged_each_for_itself():
    runs = planted({"none": [0.9, 0.9], "batch": [0.5, 0.6]}, 8) + planted({"none": [0.1], "batch": [0.6]}, 64)
    assert [(v.batch_size, v.winner) for v in verdicts(runs)] == [(8, "none"), (64, "batch")]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_false_alarms_are_rarer_than_one_in_twenty(seeds):
    random = np.random.default_rng(seeds)
    repeats = 400
    alarms = 0
    for _ in range(repeats):
        scores = {norm: random.binomial(N, 0.95, seeds) / N for norm in ("none", "batch", "layer")}
        (verdict,) = verdicts(planted(scores))
        alarms += any(difference.beyond_noise for difference in verdict.differences)
    # a rate of 5 % stays below this bound with 99 %; the true rate is lower, Bonferroni being cautious
    assert alarms <= stats.binom.ppf(0.99, repeats, 0.05)
