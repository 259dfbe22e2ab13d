"""What is said of repeated timings: the middle, the spread, and whether a difference is more than the spread."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median with the 20th and the 80th percentile."""

    p20: float
    p50: float
    p80: float

    @property
    def half(self) -> float:
        """Half of the range between the percentiles, as a share of the median."""
        return (self.p80 - self.p20) / 2 / self.p50


def spread(samples: Sequence[float]) -> Spread:
    """Return the median and the percentiles of at least one number."""
    # equal times stay equal: the standard library's quantiles round them apart
    return Spread(*np.percentile(samples, [20, 50, 80]).tolist())


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the spread of the ratios repeat by repeat.

    Timings of one repeat are neighbours in time: what slows the machine down for a while slows down both, and is no
    part of their ratio.
    """
    return spread([a / b for a, b in zip(numerators, denominators, strict=True)])


Verdict = Literal["faster", "slower", "noise"]


@dataclass(frozen=True)
class Change:
    """A time over an earlier one: the ratio of the medians, and how small and how large it may be.

    The runs are not interleaved, so that nothing can be paired: the bounds are the 20th percentile of one over the
    80th of the other. They include 1 where the two ranges overlap, and the difference is then called noise.
    """

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> Verdict:
        """Return whether the difference is more than the spread."""
        return "slower" if self.low > 1 else "faster" if self.high < 1 else "noise"


def change(new: Spread, old: Spread) -> Change:
    """Return how a time changed."""
    return Change(new.p50 / old.p50, new.p20 / old.p80, new.p80 / old.p20)
