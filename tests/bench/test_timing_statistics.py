"""The middle, the spread and the verdict, on numbers whose answers are known."""

import numpy as np
import pytest

from normkit.bench.statistics import Spread, change, ratio, spread


def test_percentiles_are_those_of_numpy():
    random = np.random.default_rng(0)
    for count in (2, 3, 5, 9, 50):
        samples = random.lognormal(size=count).tolist()
        found = spread(samples)
        np.testing.assert_allclose([found.p20, found.p50, found.p80], np.percentile(samples, [20, 50, 80]), rtol=1e-12)


def test_one_sample_has_no_spread():
    assert spread([3.0]) == Spread(3.0, 3.0, 3.0) and spread([3.0]).half == 0
    assert spread([1.0, 2.0, 3.0]).half == pytest.approx(0.3)  # from 1.4 to 2.6 around 2


def test_equal_times_stay_equal():
    for value in np.random.default_rng(0).uniform(0.1, 10, size=100).tolist():
        assert spread([value] * 3) == Spread(value, value, value)


def test_an_outlier_moves_neither_the_middle_nor_the_spread_far():
    assert spread([10.0] * 9 + [1e6]) == Spread(10.0, 10.0, 10.0)


def test_ratios_pair_the_repeats():
    # the machine was three times as slow in the second repeat, for both
    assert ratio([2.0, 6.0, 2.0], [1.0, 3.0, 1.0]) == Spread(2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("new", "old", "verdict"),
    [
        (Spread(9, 10, 11), Spread(9, 10, 11), "noise"),
        (Spread(11, 12, 13), Spread(9, 10, 11.5), "noise"),  # the ranges overlap
        (Spread(12, 12.5, 13), Spread(9, 10, 11), "slower"),
        (Spread(9, 10, 11), Spread(12, 12.5, 13), "faster"),
        (Spread(10, 10, 10), Spread(10, 10, 10), "noise"),
        (Spread(5, 20, 40), Spread(9, 10, 11), "noise"),  # twice the median, but it might be half of it
    ],
)
def test_a_difference_within_the_spread_is_noise(new, old, verdict):
    found = change(new, old)
    assert found.verdict == verdict
    assert found.low <= found.ratio <= found.high and found.ratio == new.p50 / old.p50


def test_false_alarms_are_rare():
    # two runs of the same code: the ranges of 9 samples each must seldom part
    random = np.random.default_rng(1)
    alarms = 0
    for _ in range(1000):
        new, old = (spread(random.lognormal(sigma=0.1, size=9).tolist()) for _ in range(2))
        alarms += change(new, old).verdict != "noise"
    assert alarms < 20
