"""Mean and variance of a row, exact where the mean is large against the deviations, whatever the magnitude.

The mean is carried as a pair ``high + low``, high in the type of the arithmetic, and subtracted in two steps:
rounding it to one float32 would cost 1e-3 at mean 1e4. Sums run in vectors over a piece of the row, and in float64
over the pieces. A row is measured in units, a power of two: 1 unless its squares leave the range of the type.
"""

import numpy as np

from normkit._jit import leaf
from normkit.kernels.cpu.simd import computed, keep_first, lanes, load, muladd, splat, total

# Elements summed in the type of the arithmetic before float64 takes over: 64 in a lane, so rounding stays near 1e-7
PIECE = 4096


# Variances from and to which a row is measured in units of 1, in the wide and in the narrow arithmetic
_USUAL = ((1e-290, 1e300), (1e-30, 1e34))


@leaf
def usual_range(x, var, epsilon):  # row of the data, (n,), scalar
    """Return whether `unit_for` is 1 for all of these variances, without asking it one by one."""
    smallest, largest = _USUAL[0] if lanes(x) == 8 else _USUAL[1]
    usual = np.int64(0)
    for j in range(var.size):
        usual += np.int64((var[j] < largest) & (var[j] + epsilon >= smallest))
    return usual == var.size


@leaf
def unit_for(x, high, var, epsilon):  # row, float64 scalars
    """Return the unit in which a row of this mean and variance, measured in units of 1, is in range."""
    wide = lanes(x) == 8
    unit = 2.0**560 if wide else 2.0**80
    smallest, largest = _USUAL[0] if wide else _USUAL[1]
    if not var < largest:  # NaN too: an infinite square may have met another
        return 1.0 / unit
    small = var + epsilon < smallest and abs(high) * unit < (1e300 if wide else 1e34)
    return unit if small else 1.0


@leaf
def in_range(x, rstd):  # row, float64
    """Return rstd, bounded: that of a constant may leave the arithmetic, and is to be multiplied by 0."""
    limit = 1e300 if lanes(x) == 8 else 1e30
    return limit if rstd > limit else rstd


@leaf(inline=True, ordered=True)
def deviation(x, i, n, times, minus):
    """Return times * x + minus of the n elements that begin at i."""
    return muladd(load(x, i, n), times, minus)


@leaf
def deviation_sums(x, start, stop, shift, unit):  # row, scalars
    """Return sum(d) and sum(d * d) of elements start to stop, d = unit * x - shift."""
    w = lanes(x)
    times, minus = splat(x, unit), splat(x, -shift)
    f0 = splat(x, 0.0)
    f1, f2, f3, s0, s1, s2, s3 = f0, f0, f0, f0, f0, f0, f0
    i = start
    while i + 4 * w <= stop:
        a, b = deviation(x, i, w, times, minus), deviation(x, i + w, w, times, minus)
        c, d = deviation(x, i + 2 * w, w, times, minus), deviation(x, i + 3 * w, w, times, minus)
        f0, f1, f2, f3 = f0 + a, f1 + b, f2 + c, f3 + d
        s0, s1, s2, s3 = muladd(a, a, s0), muladd(b, b, s1), muladd(c, c, s2), muladd(d, d, s3)
        i += 4 * w
    while i < stop:
        a = keep_first(deviation(x, i, min(w, stop - i), times, minus), stop - i)
        f0, s0 = f0 + a, muladd(a, a, s0)
        i += w
    return np.float64(total((f0 + f1) + (f2 + f3))), np.float64(total((s0 + s1) + (s2 + s3)))


@leaf
def row_sums(x, shift, unit):  # row, scalars
    """Return sum(d) and sum(d * d), d = unit * x - shift."""
    first, second = 0.0, 0.0
    for start in range(0, x.size, PIECE):
        f, s = deviation_sums(x, start, min(start + PIECE, x.size), shift, unit)
        first += f
        second += s
    return first, second


@leaf
def rough_mean(x, unit):  # row, scalar
    """Return the mean of the beginning of unit * x, as far as two vectors reach."""
    w = lanes(x)
    if x.size < 2 * w:
        return np.float64(computed(x, deviation_sums(x, 0, x.size, 0.0, unit)[0] / x.size))
    share = splat(x, unit * 0.5 / w)
    return np.float64(total(muladd(load(x, 0, w), share, load(x, w, w) * share)))


@leaf
def is_near(first, second):
    """Return whether a shift was within a standard deviation of the mean, from the means of d and d * d around it."""
    return 2.0 * first * first <= second


@leaf
def from_sums(x, shift, first, second):  # row, scalars
    """Return high, low and biased variance from the means of d and d * d; high has the precision of the arithmetic."""
    var = second - first * first
    high = np.float64(computed(x, shift + first))
    return high, (shift - high) + first, 0.0 if var < 0.0 else var


@leaf
def finish_moments(x, unit, shift, first, second):  # row, scalars
    """Return high, low and biased variance from the sums around a shift.

    Sums around another shift replace them where this one was more than a standard deviation off the mean.
    """
    n = x.size
    first, second = first / n, second / n
    if not is_near(first, second):
        shift = np.float64(computed(x, shift + first))
        first, second = row_sums(x, shift, unit)
        first, second = first / n, second / n
    return from_sums(x, shift, first, second)


@leaf
def row_moments(x, unit):  # row, scalar
    """Return high, low and biased variance of unit * x, float64."""
    shift = rough_mean(x, unit)
    first, second = row_sums(x, shift, unit)
    return finish_moments(x, unit, shift, first, second)


@leaf
def rows_statistics(x, start, stop, epsilon, high, low, rstd, unit):  # (M, N), scalars, four (>= stop - start,)
    """Write high, low, rstd and unit of rows start to stop; the first three belong to unit * x.

    Step by step for all rows: the steps of one row wait for each other, those of several rows overlap.
    """
    for i in range(start, stop):
        high[i - start] = rough_mean(x[i], 1.0)
    for i in range(start, stop):
        low[i - start], rstd[i - start] = row_sums(x[i], high[i - start], 1.0)
    for i in range(start, stop):
        k = i - start
        high[k], low[k], rstd[k] = finish_moments(x[i], 1.0, high[k], low[k], rstd[k])
    for i in range(start, stop):
        k = i - start
        unit[k] = unit_for(x[i], high[k], rstd[k], epsilon)
        if unit[k] != 1.0:
            high[k], low[k], rstd[k] = row_moments(x[i], unit[k])
        rstd[k] = 1.0 / np.sqrt(rstd[k] + epsilon * unit[k] * unit[k])


@leaf
def rows_mean_squares(x, start, stop, epsilon, rstd, unit):  # (M, N), scalars, two (>= stop - start,)
    """Write rstd = 1 / sqrt(mean((unit * x)**2) + unit**2 * epsilon) and unit of rows start to stop."""
    for i in range(start, stop):
        rstd[i - start] = row_sums(x[i], 0.0, 1.0)[1] / x.shape[1]
    for i in range(start, stop):
        k = i - start
        unit[k] = unit_for(x[i], 0.0, rstd[k], epsilon)
        if unit[k] != 1.0:
            rstd[k] = row_sums(x[i], 0.0, unit[k])[1] / x.shape[1]
        rstd[k] = 1.0 / np.sqrt(rstd[k] + epsilon * unit[k] * unit[k])


@leaf
def pair(x, mean):  # row, float64
    """Return the mean as high + low, high in the precision that the row is computed in."""
    high = np.float64(computed(x, mean))
    return high, mean - high
