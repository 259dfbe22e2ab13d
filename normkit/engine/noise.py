"""Random numbers that depend on counters alone, and what is drawn with them: dropout, noise after a norm.

Which thread computes a row, and in which order, changes nothing.
"""

import math

from normkit._jit import leaf
from normkit.math.random import uniform

_uniform = leaf(uniform)


@leaf
def drop(rate, seed, step, first, a, out, keep):  # scalars and three (n,)
    """Write out = a * keep, keep 0 with probability `rate`, else 1 / (1 - rate)."""
    t = out.dtype.type
    scale, zero = t(1.0 / (1.0 - rate)), t(0)
    for i in range(a.size):
        keep[i] = scale if _uniform(seed, step, first + i) >= rate else zero
    for i in range(a.size):
        out[i] = a[i] * keep[i]


# counters of a row's draws: of its mean and spread, of the shifts, and two of the factors; above those of dropout
_UNIT, _SHIFT, _RADIUS, _ANGLE = range(4)


@leaf
def _counter(row, kind):
    return (4 * (row + 1) + kind) << 32


@leaf
def perturb_row(strength, seed, step, row, first, y, factor):  # scalars and two (n,)
    """Write y = s * y + m with noise s, m of each element; s is kept in `factor`.

    The row, one unit at one step, first draws what its elements have in common: mu from U(-c, c) and sigma from
    U(1, 1 + c / 2), c being the strength. Then m is from U(mu - c / 5, mu + c / 5), and s from a normal
    distribution of mean sigma and standard deviation c / 5. The elements are counted from `first`.
    """
    t = y.dtype.type
    mu = strength * (2.0 * _uniform(seed, step, _counter(row, _UNIT)) - 1.0)
    sigma = 1.0 + 0.5 * strength * _uniform(seed, step, _counter(row, _UNIT) + 1)
    shift, radius, angle = first + _counter(row, _SHIFT), first + _counter(row, _RADIUS), first + _counter(row, _ANGLE)
    for i in range(y.size):
        m = mu + 0.2 * strength * (2.0 * _uniform(seed, step, shift + i) - 1.0)
        # Box and Muller 1958
        r = math.sqrt(-2.0 * math.log(1.0 - _uniform(seed, step, radius + i)))
        s = sigma + 0.2 * strength * r * math.cos(2.0 * math.pi * _uniform(seed, step, angle + i))
        factor[i] = t(s)
        y[i] = factor[i] * y[i] + t(m)
