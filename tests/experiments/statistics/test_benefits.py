"""The four benefits, each on runs that were made to have it or not."""

import numpy as np
import pytest
from planted_runs import N, planted, run
from scipy import stats

from normkit.experiments.statistics.summary import summarize

NAMES = ["speed-up", "largest learning rate", "sensitivity to initial values", "gap"]


def benefits(runs, **options):
    """{name: benefit} of the one norm that is measured."""
    found = summarize(runs, **options).benefits
    assert [benefit.name for benefit in found] == NAMES
    score = "R²" if runs[0].metric == "r2" else "accuracy"
    assert [benefit.unit for benefit in found] == ["epochs", "learning rate", score, score]
    for benefit in found:
        assert (benefit.batch_size, benefit.choice) == (8, "batch")
        assert benefit.sentence.startswith("batch at batch size 8: ") and benefit.sentence.endswith(".")
    return {benefit.name: benefit for benefit in found}


def curves(*val_loss):
    return {"val_loss": list(val_loss), "seconds": [0.01] * len(val_loss)}


def speed_up(plain, norm):
    runs = [run(0.8, "none", seed=s, curves=curves(*c)) for s, c in enumerate(plain)]
    return benefits(runs + [run(0.8, "batch", seed=s, curves=curves(*c)) for s, c in enumerate(norm)])["speed-up"]


def test_speed_up_in_epochs_by_hand():
    # the lowest of each plain run: epochs 4, 3, 4; reached by the norm in epochs 2, 3, 1
    plain = [(4, 3, 2, 1), (4, 2, 1, 3), (9, 8, 7, 6)]
    found = speed_up(plain, [(3, 1, 1, 1), (3, 2, 1, 1), (6, 9, 9, 9)])
    assert (found.value, found.baseline, found.unit) == (2, 4, "epochs")
    assert found.sentence == (
        "batch at batch size 8: none's lowest validation loss is reached in 2 epochs instead of 4 "
        "(medians; 2 times as fast, faster in 2 of 3 runs)."
    )


def test_a_run_that_does_not_get_there_counts_as_slower_than_any():
    plain = [(3, 2, 1)] * 3
    found = speed_up(plain, [(1, 1, 1), (3, 3, 1), (3, 3, 3)])
    assert found.value == 3 and "faster in 1 of 3 runs, not reached in 1)" in found.sentence
    found = speed_up(plain, [(1, 1, 1), (3, 3, 3), (3, 3, 3)])
    assert found.value is None and found.baseline == 3
    assert "was reached in 1 of 3 runs, so that there is no median; more --epochs" in found.sentence
    # an even number without a median: two of four
    assert speed_up([(3, 2, 1)] * 4, [(1, 1, 1)] * 2 + [(3, 3, 3)] * 2).value is None


def test_a_run_that_diverges_does_not_get_there():
    runs = [run(0.8, "none", seed=s, curves=curves(3, 2, 1)) for s in range(4)]
    fast = [run(0.8, "batch", seed=s, curves=curves(1, 1, 1)) for s in range(3)]
    found = benefits([*runs, *fast, run(None, "batch", seed=3)])["speed-up"]
    assert found.value == 1 and "faster in 3 of 4 runs, not reached in 1)" in found.sentence
    assert "faster in 3 of 3 runs)" in benefits([*runs, *fast, run("boom", "batch", seed=3)])["speed-up"].sentence
    lost = [run(None, "batch", seed=s) for s in (2, 3)]
    assert benefits([*runs, *fast[:2], *lost])["speed-up"].value is None


def test_no_speed_up_without_curves_or_pairs():
    found = benefits(planted({"none": [0.8, 0.9], "batch": [0.8, 0.9]}))["speed-up"]
    assert found.value is None and "no runs of both with validation curves" in found.sentence


def test_runs_that_tell_nothing_of_the_speed_are_left_out():
    runs = [run(0.8, "none", seed=s, curves=curves(3, 2, 1)) for s in range(4)]
    runs += [run(0.8, "batch", seed=s, curves=curves(2, 1, 1)) for s in range(2)]
    silent, broken = run(0.8, "batch", seed=2), run("boom", "batch", seed=3)
    broken.curves = curves(1, 1)  # as far as it went
    found = benefits([*runs, silent, broken])["speed-up"]
    assert found.value == 2 and "faster in 2 of 2 runs)" in found.sentence


def rates(table, trivial=0.1, **values):
    """Runs of {norm: {learning rate: test scores}}."""
    return [
        run(score, norm, seed=seed, learning_rate=rate, trivial_score=trivial, **values)
        for norm, row in table.items()
        for rate, scores in row.items()
        for seed, score in enumerate(scores)
    ]


def test_largest_learning_rate_that_trains():
    table = {
        "none": {0.01: [0.9, 0.9, 0.9], 0.1: [0.9, None, None], 1.0: [None, None, 0.1]},
        "batch": {0.01: [0.9, 0.9, 0.9], 0.1: [0.9, 0.9, None], 1.0: [0.9, 0.9, 0.9]},
    }
    found = benefits(rates(table))["largest learning rate"]
    assert (found.value, found.baseline) == (1.0, 0.01)
    assert "trains with a learning rate of 1 or more, the largest tried; none with 0.01 (" in found.sentence


def test_just_above_the_trivial_score_is_not_trained():
    # two standard errors of a share of 0.1 in N samples
    limit = 0.1 + 2 * np.sqrt(0.1 * 0.9 / N)
    table = {"none": {0.1: [limit - 1e-6] * 2, 1.0: [0.1] * 2}, "batch": {0.1: [limit + 1e-6] * 2, 1.0: [0.1] * 2}}
    found = benefits(rates(table))["largest learning rate"]
    assert (found.value, found.baseline) == (0.1, None)
    assert "trains with a learning rate of 0.1; none with none of 0.1, 1 (" in found.sentence


def test_half_of_the_runs_are_enough_and_failed_ones_are_no_verdict():
    table = {
        "none": {0.1: [0.9, None, "boom"], 1.0: [0.9, "boom", "boom"]},
        "batch": {0.1: [0.9, None, "boom"], 1.0: [0.9, None, None]},
    }
    found = benefits(rates(table))["largest learning rate"]
    assert (found.value, found.baseline) == (0.1, 1.0)


def test_a_regression_trains_above_zero():
    table = {"none": {0.1: [0.2] * 2, 1.0: [-0.1] * 2}, "batch": {0.1: [0.2] * 2, 1.0: [0.1] * 2}}
    found = benefits(rates(table, trivial=None, metric="r2"))["largest learning rate"]
    assert (found.value, found.baseline) == (1.0, 0.1)
    assert "test R² better than trivial" in found.sentence


def test_other_settings_are_held_where_learning_rates_are_compared():
    # tanh is batch's best; that relu trains with 1.0 does not count
    base = {"none": {0.1: [0.5] * 2, 1.0: [0.5] * 2}, "batch": {0.1: [0.5] * 2, 1.0: [0.5] * 2}}
    tanh = {"none": {0.1: [0.9] * 2, 1.0: [0.9] * 2}, "batch": {0.1: [0.9] * 2, 1.0: [None] * 2}}
    found = benefits(rates(tanh, activation="tanh") + rates(base, activation="relu"))["largest learning rate"]
    assert (found.value, found.baseline) == (0.1, 1.0)


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        (planted({"none": [0.9], "batch": [0.9]}), "use --learning-rates|with --learning-rates 0.001,0.01,0.1,1"),
        (
            rates({n: {0.1: [0.9], 1.0: [0.9]} for n in ("none", "batch")}, trivial=None),
            "do not say what a trivial prediction scores",
        ),
    ],
)
def test_what_the_runs_cannot_tell_of_learning_rates(runs, says):
    found = benefits(runs)["largest learning rate"]
    assert found.value is None and any(part in found.sentence for part in says.split("|"))


def test_sensitivity_is_the_spread_with_scipys_test():
    random = np.random.default_rng(0)
    plain, norm = random.normal(0.5, 0.2, 8), random.normal(0.5, 0.002, 8)
    found = benefits(planted({"none": plain, "batch": norm}))["sensitivity to initial values"]
    assert found.value == pytest.approx(np.std(norm, ddof=1))
    assert found.baseline == pytest.approx(np.std(plain, ddof=1))
    p = stats.levene(plain, norm, center="median").pvalue
    assert p < 0.05
    assert found.sentence.endswith(f"over 8 seeds, none's of {found.baseline:.4f}; Brown-Forsythe test, p = {p:.2g}.")


def test_tests_of_one_benefit_are_adjusted_together():
    random = np.random.default_rng(0)
    plain, norm = random.normal(0.5, 0.2, 8), random.normal(0.5, 0.01, 8)
    p = stats.levene(plain, norm, center="median").pvalue
    summary = summarize(planted({"none": plain, "a": norm, "b": norm, "c": norm}))
    (told,) = {b.sentence.split("p = ")[1] for b in summary.benefits if b.name == NAMES[2]}
    assert told == f"{3 * p:.2g}."


@pytest.mark.parametrize("scores", [[0.5, 0.6], [0.5, None, None]])
def test_sensitivity_needs_three_seeds(scores):
    found = benefits(planted({"none": scores, "batch": scores}))["sensitivity to initial values"]
    assert found.value is None and "--seeds 5" in found.sentence


def test_equal_scores_have_a_spread_of_nothing():
    found = benefits(planted({"none": [0.5] * 4, "batch": [0.5] * 4}))["sensitivity to initial values"]
    assert found.value == found.baseline == 0 and found.sentence.endswith("none's of 0.0000.")


def test_the_spread_over_seeds_takes_the_mean_of_the_folds():
    scores = {"none": [[0.1, 0.5], [0.2, 0.4], [0.3, 0.5]], "batch": [[0.5, 0.5], [0.6, 0.6], [0.7, 0.7]]}
    runs = [
        run(x, norm, seed=s, fold=f)
        for norm, row in scores.items()
        for s, folds in enumerate(row)
        for f, x in enumerate(folds)
    ]
    found = benefits(runs)["sensitivity to initial values"]
    assert (found.value, found.baseline) == pytest.approx((0.1, np.std([0.3, 0.3, 0.4], ddof=1)))


def test_gap_with_its_paired_difference():
    plain, norm = np.array([0.10, 0.12, 0.11, 0.09]), np.array([0.04, 0.07, 0.06, 0.03])
    runs = [run(0.8, "none", seed=s, train_score=0.8 + g, validation_score=0.8) for s, g in enumerate(plain)]
    runs += [run(0.8, "batch", seed=s, train_score=0.8 + g, validation_score=0.8) for s, g in enumerate(norm)]
    found = benefits(runs)["gap"]
    assert (found.value, found.baseline) == pytest.approx((0.05, 0.105))
    reference = stats.ttest_rel(norm, plain)
    width = np.ptp(reference.confidence_interval()) / 2
    # the step of 1 / N widens by less than one in the last figure shown
    assert f"difference -0.0550 ± {width:.4f}, p < 0.001." in found.sentence


def test_a_gap_that_is_the_same_in_every_seed_is_certain():
    runs = planted({"none": [0.5, 0.25, 0.75]}, metric="r2") + planted({"batch": [0.5, 0.25, 0.75]}, metric="r2")
    for one in runs:
        one.train_score = one.validation_score + (0.125 if one.config.choice == "batch" else 0.25)
    assert benefits(runs)["gap"].sentence.endswith("; difference -0.1250 ± 0.0000, p < 0.001.")


def test_a_gap_of_one_seed_is_told_without_a_judgement():
    found = benefits(planted({"none": [0.8], "batch": [0.9]}))["gap"]
    assert (found.value, found.baseline) == pytest.approx((0.1, 0.2))
    assert "whether that is more than chance needs --seeds 5" in found.sentence


def test_no_gap_without_scores():
    found = benefits(planted({"none": [0.8], "batch": [0.9]}, train_score=None))["gap"]
    assert found.value is None and "no gap can be told" in found.sentence


def test_nothing_ended():
    for benefit in benefits(planted({"none": [None] * 3, "batch": [None] * 3})).values():
        assert benefit.value is None and benefit.baseline is None and benefit.sentence.endswith(".")


def test_without_the_baseline_a_note_says_what_to_add():
    summary = summarize(planted({"layer": [0.8], "batch": [0.9]}))
    assert not summary.benefits
    assert (
        "The benefits are measured against 'none', which is not among these runs: add it to the norms." in summary.notes
    )


def test_every_norm_at_every_batch_size_has_four():
    runs = [r for size in (8, 32) for r in planted({n: [0.8, 0.9] for n in ("none", "batch", "layer")}, size)]
    found = [(b.batch_size, b.choice, b.name) for b in summarize(runs).benefits]
    assert found == [(size, choice, name) for size in (8, 32) for choice in ("batch", "layer") for name in NAMES]
