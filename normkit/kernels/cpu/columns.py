"""Norms over columns, (V, S, C): each of V parts by itself, statistics of a column or of a group of columns.

One part is BatchNorm over the last axis; several are its ghost batches, or the samples of InstanceNorm and GroupNorm
with the channels last. Rows are read several at a time and whole: tiles of columns are 3 to 6 times slower. A part is
measured in blocks of rows that are merged in order (Chan, Golub, LeVeque 1979); of many parts (`*_many`) each is the
work of one thread, and is normalized while it is still in the cache.

What is done once a column costs as much as several rows. It is written as loops that the compiler vectorizes:
without branches, and with one array written in each, as it compares every written address with every other one.
"""

import numpy as np
from numba import prange

from normkit._jit import leaf
from normkit.kernels.cpu.moments import in_range, unit_for, usual_range
from normkit.kernels.cpu.parallel import block_count, both, flush, row_if
from normkit.kernels.cpu.simd import computed, lanes, load, muladd, splat, store, stream_from, write

# Parts from which `*_many` is to be called
MANY = 8
# Rows summed in the type of the arithmetic before float64 takes over; rows whose mean is the first shift
PIECE, SAMPLE = 128, 16
# Columns from which rows are written two at a time: the coefficients leave the first-level cache. With fewer, two
# at a time take twice as long as one.
WIDE = 2048
# Fewer make the merge of the blocks cost more than their sums
ROWS_PER_BLOCK = 128


@leaf(inline=True, ordered=True)
def _pair_sums(j, n, x, i, times, minus):
    """Return the sums of d and d * d over four rows, added in pairs."""
    a, b = muladd(load(x[i], j, n), times, minus), muladd(load(x[i + 1], j, n), times, minus)
    c, d = muladd(load(x[i + 2], j, n), times, minus), muladd(load(x[i + 3], j, n), times, minus)
    return (a + b) + (c + d), muladd(a, a, b * b) + muladd(c, c, d * d)


@leaf(inline=True, ordered=True)
def _sums_at(j, n, x, i, shift, unit, first, second):
    times, minus = load(unit, j, n), splat(shift, 0.0) - load(shift, j, n)
    f0, s0 = _pair_sums(j, n, x, i, times, minus)
    f1, s1 = _pair_sums(j, n, x, i + 4, times, minus)
    store(first, j, load(first, j, n) + (f0 + f1), n)
    store(second, j, load(second, j, n) + (s0 + s1), n)


@leaf(inline=True, ordered=True)
def _sum_at(j, n, x, i, shift, unit, first, second):
    d = muladd(load(x[i], j, n), load(unit, j, n), splat(shift, 0.0) - load(shift, j, n))
    store(first, j, load(first, j, n) + d, n)
    store(second, j, muladd(d, d, load(second, j, n)), n)


@leaf
def column_sums(x, start, stop, shift, unit, first, second):  # (S, C), scalars, four (C,)
    """Add sum(d) and sum(d * d) over rows start to stop to first and second, d = unit * x - shift."""
    w, n = lanes(x[0]), x.shape[1]
    i = start
    while i + 8 <= stop:
        j = 0
        while j + w <= n:
            _sums_at(j, w, x, i, shift, unit, first, second)
            j += w
        if j < n:
            _sums_at(j, n - j, x, i, shift, unit, first, second)
        i += 8
    while i < stop:
        j = 0
        while j + w <= n:
            _sum_at(j, w, x, i, shift, unit, first, second)
            j += w
        if j < n:
            _sum_at(j, n - j, x, i, shift, unit, first, second)
        i += 1


@leaf
def _shifted_sums(x, start, stop, shift, unit, first, second, sums):  # (S, C), scalars, four (C,), (2, C)
    first[:] = 0
    second[:] = 0
    for i in range(start, stop, PIECE):
        sums[:] = 0
        column_sums(x, i, min(i + PIECE, stop), shift, unit, sums[0], sums[1])
        flush(sums[0], first)
        flush(sums[1], second)


@leaf
def sample_mean(x, unit, shift, sums):  # (S, C), two (C,), (2, C)
    """Write a rough mean of unit * x: that of some rows, evenly spread in groups of eight."""
    rows = x.shape[0]
    groups = min(rows, SAMPLE) // 8
    shift[:] = 0
    sums[:] = 0
    for k in range(max(groups, 1)):
        i = k * (rows - 8) // max(groups - 1, 1)
        column_sums(x, i, min(i + 8, rows), shift, unit, sums[0], sums[1])
    count = rows if groups == 0 else 8 * groups
    for j in range(shift.size):
        shift[j] = sums[0, j] / count


@leaf
def block_moments(x, start, stop, unit, shift, first, second, sums):  # (S, C), scalars, four (C,), (2, C)
    """Write of rows start to stop: mean deviation from shift, and sum of squared deviations.

    Where shift turns out to be more than 1.7 standard deviations off the mean, another one takes its place: the
    variance is what is left of the second moment, and rounded as that is.
    """
    rows = np.float64(stop - start)
    for attempt in range(2):
        _shifted_sums(x, start, stop, shift, unit, first, second, sums)
        near = np.int64(0)
        for j in range(shift.size):
            near += np.int64(4.0 * first[j] * first[j] <= 3.0 * second[j] * rows)
        if near == shift.size or attempt == 1:
            break
        for j in range(shift.size):  # the sums of the others come out the same
            if not 4.0 * first[j] * first[j] <= 3.0 * second[j] * rows:
                shift[j] = shift[j] + first[j] / rows
    share = 1.0 / rows
    for j in range(shift.size):
        first[j] *= share


@leaf
def merge_moments(rows, shift, first, second, high, low, var):  # scalar, three (blocks, C), three (C,)
    """Write mean (high + low) and biased variance of each column from the moments of the blocks of rows."""
    blocks, columns = shift.shape
    base = shift[0]  # offsets from it are small and do not cancel
    low[:] = 0.0
    var[:] = 0.0
    for b in range(blocks):
        n = np.float64((b + 1) * rows // blocks - b * rows // blocks)
        s, f = shift[b], first[b]
        for j in range(columns):
            low[j] += n * ((np.float64(s[j]) - np.float64(base[j])) + f[j])
    share = 1.0 / rows
    for j in range(columns):
        low[j] *= share
    for b in range(blocks):
        n = np.float64((b + 1) * rows // blocks - b * rows // blocks)
        s, f, q = shift[b], first[b], second[b]
        for j in range(columns):
            between = ((np.float64(s[j]) - np.float64(base[j])) + f[j]) - low[j]
            within = q[j] - n * f[j] * f[j]
            var[j] += (0.0 if within < 0.0 else within) + n * between * between
    for j in range(columns):
        var[j] *= share
    for j in range(columns):
        high[j] = computed(base, np.float64(base[j]) + low[j])
    for j in range(columns):
        low[j] += np.float64(base[j]) - high[j]


@leaf
def merge_groups(groups, high, low, var, like):  # scalar, three (C,), row of the data
    """Replace mean and variance of each column by those of its group of columns."""
    width = high.size // groups
    for g in range(groups):
        start, stop = g * width, (g + 1) * width
        base, offset, v = high[start], 0.0, 0.0
        for c in range(start, stop):
            offset += (high[c] - base) + low[c]
        offset /= width
        for c in range(start, stop):
            between = ((high[c] - base) + low[c]) - offset
            v += var[c] + between * between
        mean = np.float64(computed(like, base + offset))
        high[start:stop] = mean
        low[start:stop] = (base - mean) + offset
        var[start:stop] = v / width


@leaf
def _finish(x, groups, epsilon, shift, first, second, unit, high, low, var):
    # (S, C), scalars, three (blocks, C), four (C,)
    """Merge the blocks of a part; return whether it is to be measured again, in the units written."""
    merge_moments(x.shape[0], shift, first, second, high, low, var)
    if groups < high.size:
        merge_groups(groups, high, low, var, shift[0])
    again = False
    if not usual_range(shift[0], var, epsilon):
        for j in range(high.size):
            if unit[j] == 1.0:  # else these are the second measurements
                unit[j] = unit_for(shift[0], high[j], var[j], epsilon)
                again |= unit[j] != 1.0
    return again


@leaf(inline=True, ordered=True)
def _normalize_at(j, n, x, i, rows, unit, high, scale, offset, y, streamed):
    u, h, s, o = load(unit, j, n), splat(high, 0.0) - load(high, j, n), load(scale, j, n), load(offset, j, n)
    for k in range(rows):
        write(y[i + k], j, muladd(muladd(load(x[i + k], j, n), u, h), s, o), n, streamed)


@leaf
def normalize_block(x, start, stop, unit, high, scale, offset, y, streamed):
    # (S, C), scalars, four (C,), (S, C), scalar
    """Write y = (unit * x - high) * scale + offset on rows start to stop."""
    w, n = lanes(x[0]), x.shape[1]
    i = start
    while i < stop:
        rows = 2 if n >= WIDE and i + 2 <= stop else 1
        j = head = max(streamed, 0)
        if rows == 2:
            while j + w <= n:
                _normalize_at(j, w, x, i, 2, unit, high, scale, offset, y, streamed)
                j += w
        else:
            while j + w <= n:
                _normalize_at(j, w, x, i, 1, unit, high, scale, offset, y, streamed)
                j += w
        for at, part in ((0, head), (j, n - j)):  # before and after the whole vectors
            if part > 0:
                _normalize_at(at, part, x, i, rows, unit, high, scale, offset, y, -1)
        i += rows


@leaf
def _coefficients(epsilon, unit, high, low, var, gamma, beta, t_high, scale, offset, mean, rstd):
    # scalar, four (C,), five (C,) in the type of the arithmetic, two (G,)
    """Write what `normalize_block` takes, and the statistics of each group; low and var are overwritten."""
    columns, width = high.size, high.size // mean.size
    r = var
    for j in range(columns):
        r[j] = 1.0 / np.sqrt(var[j] + epsilon * unit[j] * unit[j])
    for k in range(mean.size):
        mean[k] = high[k * width] + low[k * width]
    for k in range(mean.size):
        if unit[k * width] != 1.0:
            mean[k] /= unit[k * width]
    for k in range(mean.size):
        rstd[k] = r[k * width] * unit[k * width]
    for j in range(columns):
        t_high[j] = high[j]
    for j in range(columns):
        r[j] = in_range(t_high, r[j])
    for j in range(columns):
        scale[j] = r[j] * gamma[j]
    for j in range(columns):
        offset[j] = beta[j] - low[j] * r[j] * gamma[j]


@leaf(allocates=True)
def _normalize_part(x, gamma, beta, epsilon, y, mean, rstd, streamed):
    # (S, C), two (C,), scalar, (S, C) or None, two (G,), scalar
    rows, columns = x.shape
    t, double = np.empty((6, columns), gamma.dtype), np.empty((5, columns))
    sums, unit, shift = t[:2], t[2], t[3:4]
    first, second, high, low, var = double[:1], double[1:2], double[2], double[3], double[4]
    unit[:] = 1
    again = True
    while again:
        sample_mean(x, unit, shift[0], sums)
        block_moments(x, 0, rows, unit, shift[0], first[0], second[0], sums)
        again = _finish(x, mean.size, epsilon, shift, first, second, unit, high, low, var)
    _coefficients(epsilon, unit, high, low, var, gamma, beta, t[3], t[4], t[5], mean, rstd)
    if y is not None:
        normalize_block(x, 0, rows, unit, t[3], t[4], t[5], y, streamed)


def _normalize_many(x, gamma, beta, epsilon, y, mean, rstd):
    # (V, S, C), two (C,), scalar, (V, S, C) or None, two (V * G,)
    parts = x.shape[0]
    groups = mean.size // parts
    streamed = -1
    if y is not None:
        streamed = stream_from(y[0], 2 * parts)
    for v in prange(parts):
        start, stop = v * groups, (v + 1) * groups
        _normalize_part(x[v], gamma, beta, epsilon, row_if(y, y, v), mean[start:stop], rstd[start:stop], streamed)


def _normalize(x, gamma, beta, epsilon, y, mean, rstd):
    # (V, S, C), two (C,), scalar, (V, S, C) or None, two (V * G,)
    parts, rows, columns = x.shape
    groups = mean.size // parts
    blocks = block_count(rows, ROWS_PER_BLOCK)
    t, double = np.empty((4, columns), gamma.dtype), np.empty((3, columns))
    unit, high, low, var = t[0], double[0], double[1], double[2]
    shift = np.empty((blocks, columns), gamma.dtype)
    first, second = np.empty((blocks, columns)), np.empty((blocks, columns))
    for v in range(parts):
        unit[:] = 1
        again = True
        while again:
            sample_mean(x[v], unit, t[1], t[2:])
            for b in prange(blocks):
                sums = np.empty((2, columns), gamma.dtype)
                for j in range(columns):  # assigning the row takes two seconds to compile, for the error it may raise
                    shift[b, j] = t[1, j]
                start, stop = b * rows // blocks, (b + 1) * rows // blocks
                block_moments(x[v], start, stop, unit, shift[b], first[b], second[b], sums)
            again = _finish(x[v], groups, epsilon, shift, first, second, unit, high, low, var)
        m, r = mean[v * groups : (v + 1) * groups], rstd[v * groups : (v + 1) * groups]
        _coefficients(epsilon, unit, high, low, var, gamma, beta, t[1], t[2], t[3], m, r)
        if y is not None:
            for b in prange(blocks):
                start, stop = b * rows // blocks, (b + 1) * rows // blocks
                normalize_block(x[v], start, stop, unit, t[1], t[2], t[3], y[v], stream_from(y[v], 2))


def _scale_and_shift(x, high, scale, offset, y):  # (V, S, C), three (C,), (V, S, C)
    """Write y = (x - high) * scale + offset."""
    parts, rows, columns = x.shape
    x, y = x.reshape((parts * rows, columns)), y.reshape((parts * rows, columns))
    blocks = block_count(parts * rows, ROWS_PER_BLOCK)
    unit = np.ones_like(high)
    for b in prange(blocks):
        start, stop = b * parts * rows // blocks, (b + 1) * parts * rows // blocks
        normalize_block(x, start, stop, unit, high, scale, offset, y, stream_from(y, 2))


normalize = both(_normalize)
normalize_many = both(_normalize_many)
scale_and_shift = both(_scale_and_shift)
