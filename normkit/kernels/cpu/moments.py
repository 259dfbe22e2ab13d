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
def _deviation(x, i, n, times, minus):
    return muladd(load(x, i, n), times, minus)


@leaf
def sums_of_rows(x, p, count, stride, shift, unit):  # (M, N), scalars
    """Return sum(d) and sum(d * d) over rows p, p + stride, ... (count of them), d = unit * x - shift.

    The lanes are added up once in PIECE elements, not once a row: of short rows that would be most of the time.
    """
    like, n = x[0], x.shape[1]
    w = lanes(like)
    times, minus, zero = splat(like, unit), splat(like, -shift), splat(like, 0.0)
    f0, f1, f2, f3, s0, s1, s2, s3 = zero, zero, zero, zero, zero, zero, zero, zero
    first, second, pending = 0.0, 0.0, 0
    for r in range(count):
        row = x[p + r * stride]
        for start in range(0, n, PIECE):
            stop = min(start + PIECE, n)
            i = start
            while i + 4 * w <= stop:
                a, b = _deviation(row, i, w, times, minus), _deviation(row, i + w, w, times, minus)
                c, d = _deviation(row, i + 2 * w, w, times, minus), _deviation(row, i + 3 * w, w, times, minus)
                f0, f1, f2, f3 = f0 + a, f1 + b, f2 + c, f3 + d
                s0, s1, s2, s3 = muladd(a, a, s0), muladd(b, b, s1), muladd(c, c, s2), muladd(d, d, s3)
                i += 4 * w
            while i < stop:
                a = keep_first(_deviation(row, i, min(w, stop - i), times, minus), stop - i)
                f0, s0 = f0 + a, muladd(a, a, s0)
                i += w
            pending += stop - start
            if pending >= PIECE or r == count - 1:
                first += np.float64(total((f0 + f1) + (f2 + f3)))
                second += np.float64(total((s0 + s1) + (s2 + s3)))
                f0, f1, f2, f3, s0, s1, s2, s3 = zero, zero, zero, zero, zero, zero, zero, zero
                pending = 0
    return first, second


@leaf
def rough_mean(x, i, unit):  # (M, N), scalars
    """Return the mean of the beginning of unit * row i, as far as two vectors reach."""
    row, n = x[i], x.shape[1]
    w = lanes(row)
    if n < 2 * w:
        return np.float64(computed(row, sums_of_rows(x, i, 1, 1, 0.0, unit)[0] / n))
    share = splat(row, unit * 0.5 / w)
    return np.float64(total(muladd(load(row, 0, w), share, load(row, w, w) * share)))


@leaf
def finish_moments(x, p, count, stride, unit, shift, first, second):  # (M, N), scalars
    """Return high, low and biased variance from what `sums_of_rows` found around a shift.

    High has the precision of the arithmetic. Sums around another shift replace these where this one was more than a
    standard deviation off the mean.
    """
    row, n = x[p], count * x.shape[1]
    first, second = first / n, second / n
    if not 2.0 * first * first <= second:
        shift = np.float64(computed(row, shift + first))
        first, second = sums_of_rows(x, p, count, stride, shift, unit)
        first, second = first / n, second / n
    var = second - first * first
    high = np.float64(computed(row, shift + first))
    return high, (shift - high) + first, 0.0 if var < 0.0 else var


@leaf
def moments_of_rows(x, p, count, stride, unit):  # (M, N), scalars
    """Return high, low and biased variance over rows p, p + stride, ... of unit * x, float64."""
    shift = rough_mean(x, p, unit)
    first, second = sums_of_rows(x, p, count, stride, shift, unit)
    return finish_moments(x, p, count, stride, unit, shift, first, second)


@leaf
def rows_statistics(x, start, stop, epsilon, high, low, rstd, unit):  # (M, N), scalars, four (>= stop - start,)
    """Write high, low, rstd and unit of rows start to stop; the first three belong to unit * x.

    Step by step for all rows: the steps of one row wait for each other, those of several rows overlap.
    """
    for i in range(start, stop):
        high[i - start] = rough_mean(x, i, 1.0)
    for i in range(start, stop):
        low[i - start], rstd[i - start] = sums_of_rows(x, i, 1, 1, high[i - start], 1.0)
    for i in range(start, stop):
        k = i - start
        high[k], low[k], rstd[k] = finish_moments(x, i, 1, 1, 1.0, high[k], low[k], rstd[k])
    for i in range(start, stop):
        k = i - start
        unit[k] = unit_for(x[i], high[k], rstd[k], epsilon)
        if unit[k] != 1.0:
            high[k], low[k], rstd[k] = moments_of_rows(x, i, 1, 1, unit[k])
        rstd[k] = 1.0 / np.sqrt(rstd[k] + epsilon * unit[k] * unit[k])


@leaf
def rows_mean_squares(x, start, stop, epsilon, rstd, unit):  # (M, N), scalars, two (>= stop - start,)
    """Write rstd = 1 / sqrt(mean((unit * x)**2) + unit**2 * epsilon) and unit of rows start to stop."""
    for i in range(start, stop):
        rstd[i - start] = sums_of_rows(x, i, 1, 1, 0.0, 1.0)[1] / x.shape[1]
    for i in range(start, stop):
        k = i - start
        unit[k] = unit_for(x[i], 0.0, rstd[k], epsilon)
        if unit[k] != 1.0:
            rstd[k] = sums_of_rows(x, i, 1, 1, 0.0, unit[k])[1] / x.shape[1]
        rstd[k] = 1.0 / np.sqrt(rstd[k] + epsilon * unit[k] * unit[k])


@leaf
def pair(x, mean):  # row, float64
    """Return the mean as high + low, high in the precision that the row is computed in."""
    high = np.float64(computed(x, mean))
    return high, mean - high
