"""Verdicts on planted runs: what they claim, what they say, and how often they are wrong."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted_runs import N, planted, run
from scipy import stats
from slow import nightly

from normkit.experiments.statistics.comparisons import Design
from normkit.experiments.statistics.inference import estimate, holm_factors, moderated
from normkit.experiments.statistics.summary import summarize
from normkit.experiments.statistics.texts import decimals, listed, p_text

FALSE_ALARMS = Path(__file__).parents[3] / "benchmarks" / "false_alarms.py"
BASE = np.array([0.70, 0.80, 0.90, 0.75, 0.85])


def only(runs, **options):
    (verdict,) = summarize(runs, **options).verdicts
    return verdict


def test_two_choices_are_compared_as_scipys_paired_test_does():
    random = np.random.default_rng(0)
    a, b = random.normal(0.5, 0.2, 6), random.normal(0.4, 0.2, 6)
    (contrast,) = summarize(planted({"none": a, "batch": b}, metric="r2")).contrasts
    reference = stats.ttest_rel(b, a)
    assert (contrast.choice, contrast.against, contrast.pairs) == ("batch", "none", 6)
    assert contrast.difference == pytest.approx(np.mean(b - a))
    assert contrast.p_value == contrast.p_adjusted == pytest.approx(reference.pvalue)
    assert (contrast.low, contrast.high) == pytest.approx(reference.confidence_interval(0.95))


def test_every_pair_is_in_holms_family():
    random = np.random.default_rng(1)
    scores = {norm: random.normal(0.9, 0.02, 4) for norm in ("none", "batch", "layer")}
    more = {norm: random.normal(0.9, 0.02, 4) for norm in ("none", "batch", "layer")}
    summary = summarize(planted(scores, 8, metric="r2") + planted(more, 64, metric="r2"))
    pairs = [("none", "batch"), ("none", "layer"), ("batch", "layer")]
    p = []
    for part in (scores, more):
        estimates = moderated([estimate(part[a] - part[b]) for a, b in pairs], 3)
        p += [one.p_value for one in estimates]
    adjusted = dict(zip([(size, *pair) for size in (8, 64) for pair in pairs], np.minimum(1, holm_factors(p) * p)))
    assert len(summary.contrasts) >= 4
    for c in summary.contrasts:
        known = adjusted.get((c.batch_size, c.choice, c.against)) or adjusted[c.batch_size, c.against, c.choice]
        assert c.p_adjusted == pytest.approx(known)
        assert (c.low <= 0 <= c.high) == (c.p_adjusted >= 0.05)


@pytest.mark.parametrize("seed", range(20))
def test_an_interval_leaves_zero_out_just_where_the_p_value_is_small(seed):
    random = np.random.default_rng(seed)
    scores = {f"n{i}": random.normal(0.9 + 0.02 * i, 0.02, 4) for i in range(4)}
    for c in summarize(planted(scores), baseline="n0").contrasts:
        assert (c.low <= 0 <= c.high) == (c.p_adjusted >= 0.05)
        assert c.low <= c.difference <= c.high


def test_a_planted_difference_is_found_although_the_seeds_differ_more():
    verdict = only(planted({"none": BASE, "batch": BASE + [0.020, 0.022, 0.018, 0.021, 0.019]}))
    assert verdict.best == "batch" and verdict.clear
    assert verdict.sentence == (
        "Batch size 8: use batch: it has the highest test accuracy, 0.820; "
        "better than none (+0.0200 ± 0.0020, p < 0.001)."
    )


def test_a_difference_to_one_rival_only_is_not_a_victory():
    scores = {"none": BASE, "layer": BASE + 0.05, "batch": BASE + [0.053, 0.049, 0.051, 0.048, 0.052]}
    summary = summarize(planted(scores))
    (verdict,) = summary.verdicts
    assert verdict.best == "batch" and not verdict.clear
    assert verdict.sentence.startswith(
        "Batch size 8: batch has the highest test accuracy, 0.851; better than none (+0.0506 ± "
    )
    assert "; no difference that 5 seeds can show against layer (+0.0006 ± " in verdict.sentence
    assert [c.tied for c in summary.cells] == [False, True, True]
    assert [(c.against, c.p_adjusted < 0.05) for c in verdict.evidence] == [("layer", False), ("none", True)]


def test_the_number_of_seeds_is_that_of_the_baseline():
    # effect 0.5 of the deviation: by SciPy's power of a t test 34 seeds for 80 % at 5 %
    noise = stats.zscore([0.3, -1.2, 0.8, 1.5, -0.7], ddof=1)
    verdict = only(planted({"none": [0.5] * 5, "batch": 0.5 + 0.1 * (noise + 0.5)}, metric="r2"))
    assert verdict.sentence == (
        "Batch size 8: batch has the highest test R², 0.55; no difference that 5 seeds can show against none "
        "(+0.05 ± 0.12, p = 0.3). To show a difference of 0.05 to none, if that is the true one, takes about 34 seeds."
    )


def test_large_numbers_of_seeds_are_rounded_up():
    # effect 0.15 of the deviation: 351 seeds for 80 % at 5 %
    noise = stats.zscore([0.3, -1.2, 0.8, 1.5, -0.7], ddof=1)
    verdict = only(planted({"none": [0.5] * 5, "batch": 0.5 + 0.1 * (noise + 0.15)}, metric="r2"))
    assert verdict.sentence.endswith("takes about 360 seeds.")
    verdict = only(planted({"none": [0.5] * 5, "batch": 0.5 + 0.1 * (noise + 0.08)}, metric="r2"))
    assert verdict.sentence.endswith("takes more than 1000 seeds.")


def test_of_several_ties_the_baseline_is_the_one_to_be_told_from():
    noise = np.array([[1, -2, 3, -1, 0], [2, 1, -1, -3, 1], [-2, 2, 1, 0, -1]]) / 100
    scores = dict(zip(("none", "batch", "layer"), 0.5 + noise + [[0.0], [0.02], [0.01]]))
    assert "difference of 0.018 to none," in only(planted(scores, metric="r2")).sentence
    assert "difference of 0.010 to layer," in only(planted(scores, metric="r2"), baseline="other").sentence


def test_of_many_rivals_three_have_their_numbers_the_baseline_among_them():
    random = np.random.default_rng(3)
    scores = {f"n{i}": random.normal(0.9, 0.01, 5) for i in range(6)}
    last = min(scores, key=lambda name: scores[name].mean())
    verdict = only(planted(scores), baseline=last)
    assert verdict.sentence.count("±") == 3 and len(verdict.evidence) == 5
    assert f"{last} (" in verdict.sentence and verdict.evidence[-1].against == last


def test_a_rival_that_was_not_compared_is_not_tied():
    summary = summarize(planted({"none": BASE, "batch": BASE[[1, 0, 2, 4, 3]], "layer": [0.9, None, None, None, None]}))
    assert {c.choice: c.tied for c in summary.cells} == {"none": True, "batch": True, "layer": False}
    assert "Too few runs ended to compare with layer: use more --seeds." in summary.verdicts[0].sentence


def test_one_seed_shows_nothing():
    verdict = only(planted({"none": [0.1], "batch": [0.9]}))
    assert verdict.best == "batch" and not verdict.clear and not verdict.evidence
    assert verdict.sentence == (
        "Batch size 8: batch has the highest test accuracy, 0.9000. "
        "Too few runs ended to compare with none: use --seeds 5."
    )


def test_equal_gaps_of_two_seeds_show_nothing():
    verdict = only(planted({"none": [0.9, 0.8], "batch": [0.901, 0.801]}))
    assert not verdict.clear and "Two runs can hardly show anything: use --seeds 5." in verdict.sentence


def test_divergence_costs_the_victory_and_is_told():
    verdict = only(planted({"none": [0.9, 0.91, 0.9, 0.91, None], "batch": [0.8, 0.81, 0.8, 0.81, 0.8]}))
    assert verdict.best == "batch" and not verdict.clear
    assert verdict.evidence[0].pairs == 4 and verdict.evidence[0].difference == pytest.approx(-0.1)
    assert verdict.sentence.startswith("Batch size 8: batch diverged least; test accuracy, 0.8040; where both ended, ")
    assert "worse than none (-0.1000 ± " in verdict.sentence
    assert verdict.sentence.endswith(" Lost: none div 1/5.")


def test_a_rival_that_never_ended_is_told_not_compared():
    verdict = only(planted({"none": [None, None], "batch": [0.8, 0.9]}))
    assert verdict.best == "batch" and not verdict.clear and not verdict.evidence
    assert verdict.sentence == (
        "Batch size 8: batch is the only choice that trains; test accuracy, 0.85. Lost: none div 2/2."
    )


def test_failed_runs_are_told_and_do_not_count_as_diverged():
    runs = [*planted({"none": BASE, "batch": BASE + 0.01}), run("out of memory", "none", seed=5)]
    summary = summarize([*runs, run(0.9, "batch", seed=5)])
    assert (summary.cells[0].runs, summary.cells[0].diverged, summary.cells[0].failed) == (6, 0, 1)
    assert summary.verdicts[0].sentence.endswith("Lost: none 1/6 failed.")
    assert summary.verdicts[0].best == "batch" and summary.verdicts[0].evidence[0].pairs == 5


def test_nothing_ended():
    verdict = only(planted({"none": [None], "batch": [None]}))
    assert (verdict.batch_size, verdict.best, verdict.clear, verdict.evidence) == (8, None, False, [])
    assert only(planted({"none": [None], "batch": [None]})).sentence == (
        "Batch size 8: every run diverged (none div 1/1, batch div 1/1)."
    )
    assert only(planted({"none": [None, "boom"]})).sentence == (
        "Batch size 8: no run came to an end (none div 1/2, 1/2 failed)."
    )


def test_one_choice():
    verdict = only(planted({"batch": [0.8, 0.9, 0.85]}))
    assert (verdict.best, verdict.clear, verdict.evidence) == ("batch", False, [])
    assert verdict.sentence == "Batch size 8: batch is the only choice tried; test accuracy, 0.85."


def test_level_choices_are_named_together():
    verdict = only(planted({"none": [0.8, 0.9, 0.7], "batch": [0.8, 0.9, 0.7]}))
    assert not verdict.clear and "none and batch have the same test accuracy, 0.80;" in verdict.sentence


def test_level_choices_are_level_whatever_the_rounding():
    scores = [0.8125, 0.925, 0.9], [0.825, 0.9125, 0.9]  # one mean, whose sums differ in the last place
    assert np.mean(scores[0]) != np.mean(scores[1])
    for none, batch in (scores, scores[::-1]):
        runs = planted({"none": none, "batch": batch})
        assert "none and batch have the same test accuracy" in only(runs).sentence
        assert "batch and none have the same test accuracy" in only(runs[::-1]).sentence


def test_the_seeds_are_those_of_a_difference_that_there_is():
    scores = {"none": BASE, "batch": BASE[[1, 0, 2, 4, 3]], "layer": BASE - [0.03, -0.02, 0.02, 0.01, -0.01]}
    sentence = only(planted(scores)).sentence
    assert "have the same test accuracy" in sentence and "to layer, if that is the true one, takes about" in sentence


def test_two_seeds_are_too_few_also_where_choices_are_level():
    sentence = only(planted({"none": [0.8, 0.9], "batch": [0.9, 0.8]})).sentence
    assert "have the same" in sentence and "Two runs can hardly show anything: use --seeds 5." in sentence


def test_a_position_is_a_choice():
    runs = planted({"batch": BASE}) + planted({"batch": BASE + 0.1}, norm_position="after")
    assert only(runs, baseline="batch").best == "batch after"


@pytest.mark.parametrize(("width", "expected"), [(0.0072, 4), (0.019, 3), (0.19, 2), (5, 2), (1e-6, 4), (None, 4)])
def test_decimals_follow_the_width(width, expected):
    assert decimals(width) == expected


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p < 0.001"),
        (0.00099, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0123, "p = 0.012"),
        (0.0996, "p = 0.1"),
        (0.1, "p = 0.1"),
        (0.25, "p = 0.2"),
        (1.0, "p = 1"),
    ],
)
def test_p_values_in_words(p, text):
    assert p_text(p) == text


def test_a_p_value_below_one_in_twenty_is_written_as_such():
    assert [p_text(p) for p in (0.0496, 0.04999, 0.05, 0.0504)] == ["p = 0.0496", "p = 0.04999", "p = 0.05", "p = 0.05"]


def test_lists_in_words():
    assert [listed(list(names)) for names in ("", "a", "ab", "abcd")] == ["", "a", "a and b", "a, b, c and d"]


def test_what_would_show_a_difference():
    # of no difference at all, nothing; of three runs, a number; of folds alone, which stay correlated, none
    level = only(planted({"none": [0.5, 0.7, 0.6], "batch": [0.6, 0.6, 0.6]}, metric="r2"))
    assert level.sentence.count("±") == 1 and "To show" not in level.sentence and level.sentence.endswith(").")
    three = only(planted({"none": [0.5, 0.6, 0.7], "batch": [0.51, 0.66, 0.7]}, metric="r2"))
    assert "Two runs" not in three.sentence and "takes about 17 seeds." in three.sentence
    noise = stats.zscore([0.3, -1.2, 0.8, 1.5, -0.7], ddof=1)
    runs = [run(0.5, "none", fold=f, metric="r2") for f in range(5)]
    runs += [run(0.5 + 0.1 * (x + 0.15), "batch", fold=f, metric="r2") for f, x in enumerate(noise)]
    assert only(runs).sentence.endswith("takes more data, not more seeds.")


def test_the_last_sentence():
    up, down = np.array([0.050, 0.052, 0.048, 0.051, 0.049]), np.array([-0.050, -0.052, -0.048, -0.051, -0.049])
    noise = np.array([0.01, -0.01, 0.02, -0.02, 0.001])

    def over(*differences):
        sizes = zip((8, 16, 32), differences)
        return summarize([r for size, d in sizes for r in planted({"none": BASE, "batch": BASE + d}, size)]).overall

    assert over(up) == ""
    assert over(up, up) == "Over all batch sizes: batch is the best at each of them."
    assert over(up, noise) == "Over all batch sizes: batch is best or tied with the best at every one."
    assert over(noise, noise) == "Over all batch sizes: these runs show no choice to be worse than another."
    assert over(up, down) == (
        "Over all batch sizes: no choice is best or tied with the best at each of them, it depends on the size."
    )
    three = {"none": BASE, "batch": BASE + up, "layer": BASE + up + noise}
    assert summarize(planted(three, 8) + planted(three, 16)).overall == (
        "Over all batch sizes: batch and layer are each best or tied with the best at every one."
    )


def test_a_step_of_accuracy_is_one_of_the_fewest_test_rows():
    runs = planted({"none": [0.5, 0.6]})
    assert Design(runs).step == 1 / N
    assert Design([*runs, replace(runs[0], test_samples=1)]).step == 1
    assert Design([replace(run, test_samples=0) for run in runs]).step == 0
    assert Design(planted({"none": [0.5]}, metric="r2")).step == 0


def test_no_last_sentence_where_a_batch_size_was_not_compared():
    runs = planted({"none": BASE, "batch": BASE + 0.1}, 8) + planted({"none": [0.5], "batch": [0.6]}, 64)
    assert summarize(runs).overall == ""


def test_folds_are_compared_with_the_correction():
    random = np.random.default_rng(5)
    scores = random.normal(0.8, 0.02, (2, 3, 4))  # (choices, seeds, folds)
    runs = [
        run(scores[c, s, f], norm, seed=s, fold=f)
        for c, norm in enumerate(("none", "batch"))
        for s in range(3)
        for f in range(4)
    ]
    summary = summarize(runs)
    expected = estimate((scores[1] - scores[0]).ravel(), 1 / N, 0.25 / 0.6)  # a quarter tests, 15 % validate
    assert summary.contrasts[0].p_value == pytest.approx(expected.p_value)
    assert summary.contrasts[0].pairs == 12 and "no difference that 12 runs can show" in summary.verdicts[0].sentence
    assert any("Nadeau" in note for note in summary.notes)


def test_two_folds_and_three_choices_share_their_variance():
    scores = np.random.default_rng(7).normal(0.8, 0.02, (3, 4, 2))  # (choices, seeds, folds)
    names = ("none", "batch", "layer")
    runs = [
        run(scores[c, s, f], names[c], seed=s, fold=f) for c in range(3) for s in range(4) for f in range(2)
    ]  # fmt: skip
    pairs = [(0, 1), (0, 2), (1, 2)]
    # of two halves one tests, and a fifth of the other one validates
    expected = moderated([estimate((scores[a] - scores[b]).ravel(), 1 / N, 1.25) for a, b in pairs], 3, 1.25)
    found = {frozenset((c.choice, c.against)): c.p_value for c in summarize(runs).contrasts}
    for (a, b), one in zip(pairs, expected):
        assert found.get(frozenset((names[a], names[b])), one.p_value) == pytest.approx(one.p_value)
    assert len(found) >= 2


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("false_alarms", FALSE_ALARMS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("case", "norms", "seeds"),
    [
        ("equal", 3, 3), ("unequal noise", 3, 5), ("some diverge", 5, 5), ("few steps", 4, 10),
        pytest.param("unequal noise", 8, 3, marks=nightly),
    ],
)  # fmt: skip
def test_false_alarms_are_rarer_than_one_in_twenty(simulation, case, norms, seeds):
    repeats = 100
    alarms, _ = simulation.count(simulation.CASES[case], norms, seeds, repeats, batch_sizes=2, difference=0.0)
    # a rate of 5 % stays below this bound with 99 %; the true rate is lower, as pairs are not independent
    assert alarms <= stats.binom.ppf(0.99, repeats, 0.05)


def test_a_planted_difference_is_found_in_most_repeats(simulation):
    _, found = simulation.count(simulation.CASES["equal"], 5, 10, 20, batch_sizes=2, difference=0.05)
    assert found >= 0.9


def test_stored_runs_are_permuted_within_a_seed(simulation):
    runs = planted({"none": BASE, "batch": BASE + 0.01, "layer": BASE + 0.02})
    made = simulation.permuted(runs, np.random.default_rng(0))
    assert [(r.run_id, r.seed) for r in sorted(made, key=lambda r: r.run_id)] == sorted(
        (r.run_id, r.seed) for r in runs
    )
    for seed in range(5):
        before, after = ([r.test_score for r in some if r.seed == seed] for some in (runs, made))
        assert sorted(before) == sorted(after)
    assert summarize(runs).contrasts and simulation.claims(summarize(runs)) and not simulation.claims(summarize(made))
