"""The whole summary: cells, representatives, marks, notes, hostile input."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from planted_runs import N, planted, run
from scipy import stats

from normkit.experiments.errors import DataError
from normkit.experiments.statistics.candidates import Candidate, paired
from normkit.experiments.statistics.inference import estimate
from normkit.experiments.statistics.summary import summarize


def test_a_cell_by_hand():
    runs = planted({"batch": [0.8, None, 0.9, "boom"]}, validation_score=0.7)
    (cell,) = summarize(runs, baseline="batch").cells
    assert (cell.choice, cell.runs, cell.diverged, cell.failed) == ("batch", 4, 1, 1)
    width = estimate([0.8, 0.9], 1 / N).half_width()
    assert (cell.test_score, cell.low, cell.high) == pytest.approx((0.85, 0.85 - width, 0.85 + width))
    assert (cell.test_loss, cell.validation_score, cell.validation_loss) == (0.5, 0.7, 0.25)
    assert (cell.gap, cell.seconds_per_epoch) == pytest.approx((0.3, 0.02))
    assert cell.probability_best is None and not cell.tied


def test_a_cell_without_a_run_that_ended():
    (cell,) = summarize(planted({"batch": [None, None]})).cells
    told = (cell.test_score, cell.low, cell.high, cell.test_loss, cell.gap, cell.seconds_per_epoch)
    assert told == (None,) * 6 and cell.diverged == 2


def test_seconds_per_epoch_without_curves_are_those_of_the_run():
    (cell,) = summarize(planted({"batch": [0.5]}, curves={}, seconds=3.0, epochs=6)).cells
    assert cell.seconds_per_epoch == 0.5


def test_seconds_per_epoch_of_fast_runs():
    (cell,) = summarize(planted({"batch": [0.5, 0.6]}, curves={}, seconds=0.6, epochs=6)).cells
    assert cell.seconds_per_epoch == pytest.approx(0.1)


def beginnings(runs):
    return [note.split()[0] for note in summarize(runs).notes]


def test_notes_are_those_that_the_runs_need():
    alone = planted({"none": [0.5]})
    assert beginnings(alone) == ["Intervals"]
    seeds = planted({"none": [0.5, 0.6]})
    assert beginnings(seeds) == ["Intervals", "Sensitivity"]
    pair = seeds + planted({"batch": [0.5, 0.7]})
    assert beginnings(pair) == ["Intervals", "Differences", "The", "Sensitivity"]
    assert beginnings([*pair, run(None, "batch", seed=2)])[-2:] == ["Scores", "Sensitivity"]
    rates = pair + planted({"batch": [0.5, 0.7]}, learning_rate=0.1)
    assert beginnings(rates) == ["Intervals", "Differences", "The", "Each", "Sensitivity"]


def test_the_share_of_diverged_runs_counts_not_their_number():
    often = planted({"none": [0.9, None]})
    rarely = planted({"batch": [0.8] * 8 + [None, None]})
    assert summarize(often + rarely).verdicts[0].best == "batch"


def test_of_conditions_that_score_alike_the_one_with_the_lower_loss_stands_for_the_choice():
    runs = []
    for rate, loss, score in ((0.1, None, 0.3), (0.2, 0.5, 0.4), (0.3, 0.2, 0.5), (0.4, 0.6, 0.6)):
        runs += planted(
            {"batch": [score] * 2}, learning_rate=rate, validation_score=0.7, validation_loss=loss
        )  # fmt: skip
    summary = summarize(runs + planted({"none": [0.1, 0.1]}))
    assert summary.contrasts[0].difference == pytest.approx(0.4)


def test_the_bootstrap_interval_is_scipys_over_the_means_of_seeds():
    scores = np.random.default_rng(0).normal(0.8, 0.1, (6, 2))
    runs = [run(scores[s, f], seed=s, fold=f) for s in range(6) for f in range(2)]
    (cell,) = summarize(runs, interval="bootstrap").cells
    expected = stats.bootstrap((scores.mean(axis=1),), np.mean, n_resamples=20000, random_state=1).confidence_interval
    assert (cell.low, cell.high) == pytest.approx((expected.low, expected.high), abs=0.005)
    (one,) = summarize(planted({"none": [0.5]}), interval="bootstrap").cells
    assert (one.low, one.high) == (None, None)


def test_the_representative_is_chosen_on_validation_scores_never_on_test_scores():
    good = planted({"batch": [0.5, 0.6, 0.55]}, learning_rate=0.1, validation_score=0.9)
    lucky = planted({"batch": [0.9, 0.95, 0.92]}, learning_rate=0.01, validation_score=0.8)
    plain = planted({"none": [0.7, 0.75, 0.72]}, learning_rate=0.1)
    summary = summarize(lucky + good + plain)
    assert summary.verdicts[0].best == "none"
    assert summary.contrasts[0].difference == pytest.approx(0.55 - np.mean([0.7, 0.75, 0.72]))
    assert any("did best on the validation sets" in note for note in summary.notes)
    assert [c.probability_best is None for c in summary.cells] == [True, False, False]


def test_divergence_counts_against_a_representative():
    wild = planted({"batch": [0.9, None, 0.9]}, learning_rate=0.1, validation_score=0.9)
    tame = planted({"batch": [0.5, 0.5, 0.5]}, learning_rate=0.01, validation_score=0.5)
    summary = summarize(wild + tame + planted({"none": [0.4, 0.4, 0.4]}))
    assert summary.contrasts[0].difference == pytest.approx(0.1)


def test_the_share_of_diverged_runs_counts_against_a_representative_not_their_number():
    often = planted({"batch": [0.9, None]}, learning_rate=0.1, validation_score=0.9)
    rarely = planted({"batch": [0.5] * 8 + [None, None]}, learning_rate=0.01, validation_score=0.5)
    summary = summarize(often + rarely + planted({"none": [0.4] * 10}))
    assert summary.contrasts[0].difference == pytest.approx(0.1)


def test_a_value_that_one_of_two_runs_lacks_is_not_paired():
    def candidate(*losses):
        runs = [run(0.5, seed=seed, test_loss=loss) for seed, loss in enumerate(losses)]
        return Candidate("batch", runs[0].config, runs)

    first, second = candidate(0.5, None, 0.7, 1e300), candidate(0.25, 0.5, None, 0.5)
    assert paired(first, second, lambda one: one.test_loss) == [0.25]
    assert paired(second, first, lambda one: one.test_loss) == [-0.25]


def test_probabilities_and_ties_of_a_group():
    base = np.array([0.7, 0.8, 0.9, 0.75, 0.85])
    scores = {
        "none": base,
        "batch": base + 0.05,
        "layer": base + 0.05 + [0.001, -0.001, 0.001, -0.001, 0.0],
        "rms": [None] * 5,
    }
    cells = {c.choice: c for c in summarize(planted(scores)).cells}
    assert sum(c.probability_best for c in cells.values()) == pytest.approx(1)
    assert cells["none"].probability_best == cells["rms"].probability_best == 0
    assert {name for name, c in cells.items() if c.tied} == {"batch", "layer"}


def test_divergence_counts_before_the_score_in_the_probability_as_in_the_verdict():
    def of(**scores):
        summary = summarize(planted(scores))
        return summary.verdicts[0].best, {c.choice: c.probability_best for c in summary.cells}

    none, batch, layer = [0.9] * 4, [0.1] * 4, [0.2] * 4
    assert of(none=[*none[:3], None], batch=batch, layer=layer) == ("layer", {"none": 0, "batch": 0, "layer": 1})
    assert of(none=[None] * 4, batch=batch) == ("batch", {"none": 0, "batch": 1})
    # one of five diverged of both, in other seeds, and another one failed
    none, batch = [0.8, 0.801, 0.802, 0.803, None], [0.95, 0.951, 0.952, None, "out of memory"]
    assert of(none=none, batch=batch) == ("batch", {"none": 0, "batch": 1})


def test_a_failed_run_is_no_argument_in_the_probability():
    scores = {"none": [0.9, 0.92, 0.91, 0.9, "out of memory"], "batch": [0.5, 0.52, 0.51, 0.5, 0.5]}
    cells = {c.choice: c for c in summarize(planted(scores)).cells}
    assert cells["none"].probability_best == 1


def test_contrasts_are_to_the_baseline_then_from_the_best_each_pair_once():
    base = np.array([0.7, 0.8, 0.9, 0.75, 0.85])
    scores = {"none": base, "a": base + 0.05, "b": base + 0.01, "c": base - 0.05}
    summary = summarize(planted(scores))
    assert [(c.choice, c.against) for c in summary.contrasts] == [
        ("a", "none"), ("b", "none"), ("c", "none"), ("a", "b"), ("a", "c"),
    ]  # fmt: skip
    assert [c.against for c in summary.verdicts[0].evidence] == ["b", "none", "c"]


def test_a_repeated_run_counts_once_and_the_later_one():
    runs = planted({"none": [0.1, 0.2, 0.3]})
    (cell,) = summarize([run("killed", seed=1), *runs, *runs]).cells
    assert (cell.runs, cell.failed) == (3, 0) and cell.test_score == pytest.approx(0.2)


def test_seeds_that_one_choice_lacks_are_not_paired():
    runs = planted({"none": [0.5, 0.6, 0.7, 0.8], "batch": [0.6, 0.7]})
    (contrast,) = summarize(runs).contrasts
    assert contrast.pairs == 2 and contrast.difference == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ([], {}, "there are no runs"),
        ([run(0.5), run(0.5, metric="r2", seed=1)], {}, "of one metric .* got accuracy and r2"),
        ([run(0.5)], {"interval": "normal"}, "interval must be 't' or 'bootstrap', got 'normal'"),
    ],
)
def test_wrong_input(runs, options, message):
    with pytest.raises(DataError, match=message):
        summarize(runs, **options)


@pytest.mark.parametrize("interval", ["t", "bootstrap"])
@pytest.mark.parametrize(
    "scores",
    [
        [math.nan, 0.5, 0.6],
        [math.inf, -math.inf, 0.5],
        [1e308, -1e308, 1e308],
        [-1e200, 0.1, 0.2],
        [0.0, 0.0, 0.0],
        [None, "boom", 0.3],
        [0.5],
    ],
)
def test_the_summary_is_json_without_nan_whatever_the_scores(scores, interval):
    with np.errstate(all="raise", under="ignore"):
        runs = planted({"none": scores, "batch": scores[::-1], "layer": [0.4, 0.5, 0.6]}, metric="r2")
        for one in runs:
            one.validation_loss = math.inf
        text = json.dumps(asdict(summarize(runs, interval=interval)), allow_nan=False)
    assert "nan" not in text and "inf " not in text


def test_a_score_that_is_no_number_is_a_divergence():
    (cell,) = summarize(planted({"none": [math.nan, 0.5]})).cells
    assert (cell.diverged, cell.test_score) == (1, 0.5)
