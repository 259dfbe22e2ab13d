"""Norms over planes, (P, I): statistics of a set of planes, gamma and beta a channel, constant within a plane.

Planes of one array (samples, channels, inner) are numbered row by row, so that plane p belongs to channel
p % channels. A set is `count` planes at distance `stride`: all samples of a channel for BatchNorm (stride channels),
neighbouring channels of a sample for GroupNorm and InstanceNorm (stride 1). A set that fits in the cache is read from
memory once; few sets are shared out by planes instead.
"""

import numpy as np
from numba import prange

from normkit._jit import leaf
from normkit.kernels.cpu.moments import PIECE, in_range, moments_of_rows, pair, unit_for
from normkit.kernels.cpu.parallel import both
from normkit.kernels.cpu.simd import computed, lanes, load, muladd, splat, store, stream_from, total, write

# Sets from which each is the work of one thread
MANY = 16


@leaf
def plane_of(k, r, count, stride):
    """Return the number of the r-th plane of set k."""
    return (k // stride) * stride * count + k % stride + r * stride


@leaf
def scale_and_shift_plane(x, unit, high, scale, offset, y, streamed):  # row, scalars, row, scalar
    """Write y = (unit * x - high) * scale + offset."""
    w, n = lanes(x), x.size
    u, h, s, o = splat(x, unit), splat(x, -high), splat(x, scale), splat(x, offset)
    i = max(streamed, 0)
    if i > 0:
        store(y, 0, muladd(muladd(load(x, 0, i), u, h), s, o), i)
    while i + w <= n:
        write(y, i, muladd(muladd(load(x, i, w), u, h), s, o), w, streamed)
        i += w
    if i < n:
        store(y, i, muladd(muladd(load(x, i, n - i), u, h), s, o), n - i)


@leaf
def merge_planes(high, low, var, like):  # three (count,), row of the data
    """Return mean (high, low) and variance of planes of equal size (Chan, Golub, LeVeque 1979)."""
    count = high.size
    base, offset, v = high[0], 0.0, 0.0
    for r in range(count):
        offset += (high[r] - base) + low[r]
    offset /= count
    for r in range(count):
        between = ((high[r] - base) + low[r]) - offset
        v += var[r] + between * between
    mean = np.float64(computed(like, base + offset))
    return mean, (base - mean) + offset, v / count


@leaf
def _set_statistics(x, k, count, stride, epsilon, measured):
    # (P, I), scalars, (3, count): the moments of the planes in units of 1
    """Return high, low, rstd and unit of a set; the first three belong to unit * x."""
    like = x[0]
    high, low, var = merge_planes(measured[0], measured[1], measured[2], like)
    unit = unit_for(like, high, var, epsilon)
    if unit != 1.0:
        for r in range(count):
            p = plane_of(k, r, count, stride)
            measured[0, r], measured[1, r], measured[2, r] = moments_of_rows(x, p, 1, 1, unit)
        high, low, var = merge_planes(measured[0], measured[1], measured[2], like)
    return high, low, 1.0 / np.sqrt(var + epsilon * unit * unit), unit


@leaf
def _normalize_plane(x, p, high, low, rstd, unit, gamma, beta, y, streamed):
    c = p % gamma.size
    rstd = in_range(x[p], rstd)
    g = np.float64(gamma[c])
    scale_and_shift_plane(x[p], unit, high, rstd * g, np.float64(beta[c]) - low * rstd * g, y[p], streamed)


def _normalize(x, count, stride, gamma, beta, epsilon, y, mean, rstd):
    # (P, I), scalars, two (C,), scalar, (P, I) or None, two (sets,)
    sets, planes = mean.size, x.shape[0]
    streamed = -1
    if y is not None:
        streamed = stream_from(y, 2)
    if sets >= MANY:
        # planes that follow each other are one row
        measured, pieces = (x.reshape((sets, count * x.shape[1])), 1) if stride == 1 else (x, count)
        for k in prange(sets):
            p = plane_of(k, 0, pieces, stride)
            high, low, var = moments_of_rows(measured, p, pieces, stride, 1.0)
            unit = unit_for(x[0], high, var, epsilon)
            if unit != 1.0:
                high, low, var = moments_of_rows(measured, p, pieces, stride, unit)
            r_ = 1.0 / np.sqrt(var + epsilon * unit * unit)
            mean[k] = high + low if unit == 1.0 else (high + low) / unit
            rstd[k] = r_ * unit
            if y is not None:
                for r in range(count):
                    p = plane_of(k, r, count, stride)
                    _normalize_plane(x, p, high, low, r_, unit, gamma, beta, y, streamed)
        return
    moments = np.empty((sets, 3, count))
    for j in prange(planes):
        k, r = j // count, j % count
        p = plane_of(k, r, count, stride)
        moments[k, 0, r], moments[k, 1, r], moments[k, 2, r] = moments_of_rows(x, p, 1, 1, 1.0)
    found = np.empty((sets, 4))
    for k in range(sets):
        high, low, r_, unit = _set_statistics(x, k, count, stride, epsilon, moments[k])
        found[k, 0], found[k, 1], found[k, 2], found[k, 3] = high, low, r_, unit
        mean[k] = high + low if unit == 1.0 else (high + low) / unit
        rstd[k] = r_ * unit
    if y is not None:
        for j in prange(planes):
            k, r = j // count, j % count
            f = found[k]
            _normalize_plane(x, plane_of(k, r, count, stride), f[0], f[1], f[2], f[3], gamma, beta, y, streamed)


def _scale_and_shift(x, high, scale, offset, y):  # (P, I), three (C,), (P, I)
    """Write y = (x - high) * scale + offset."""
    streamed = stream_from(y, 2)
    for p in prange(x.shape[0]):
        c = p % high.size
        scale_and_shift_plane(x[p], 1.0, high[c], scale[c], offset[c], y[p], streamed)


@leaf(inline=True, ordered=True)
def _sums_at(i, n, dy, x, minus_high, scale, low, sum_dy, dot):
    g = load(dy, i, n)
    return sum_dy + g, muladd(g, muladd(load(x, i, n) + minus_high, scale, low), dot)


@leaf
def planes_gradient_sums(dy, x, p, count, stride, high, rstd, low):  # two (P, I), scalars
    """Return sum(dy * xhat) and sum(dy) over planes p, p + stride, ..., xhat = (x - high) * rstd + low."""
    like, n = x[0], x.shape[1]
    w = lanes(like)
    h, s, z, zero = splat(like, -high), splat(like, rstd), splat(like, low), splat(like, 0.0)
    b0, b1, b2, b3, d0, d1, d2, d3 = zero, zero, zero, zero, zero, zero, zero, zero
    dgamma, dbeta, pending = 0.0, 0.0, 0
    for r in range(count):
        grad, row = dy[p + r * stride], x[p + r * stride]
        for start in range(0, n, PIECE):
            stop = min(start + PIECE, n)
            i = start
            while i + 4 * w <= stop:
                b0, d0 = _sums_at(i, w, grad, row, h, s, z, b0, d0)
                b1, d1 = _sums_at(i + w, w, grad, row, h, s, z, b1, d1)
                b2, d2 = _sums_at(i + 2 * w, w, grad, row, h, s, z, b2, d2)
                b3, d3 = _sums_at(i + 3 * w, w, grad, row, h, s, z, b3, d3)
                i += 4 * w
            while i < stop:
                b0, d0 = _sums_at(i, min(w, stop - i), grad, row, h, s, z, b0, d0)
                i += w
            pending += stop - start
            if pending >= PIECE or r == count - 1:
                dbeta += np.float64(total((b0 + b1) + (b2 + b3)))
                dgamma += np.float64(total((d0 + d1) + (d2 + d3)))
                b0, b1, b2, b3, d0, d1, d2, d3 = zero, zero, zero, zero, zero, zero, zero, zero
                pending = 0
    return dgamma, dbeta


@leaf(inline=True, ordered=True)
def _gradient_at(i, n, dy, x, minus_high, rstd, scale, minus_dot, offset):
    d = (load(x, i, n) + minus_high) * rstd
    return muladd(d, minus_dot, muladd(load(dy, i, n), scale, offset))


@leaf
def plane_gradient(dy, x, high, rstd, scale, minus_dot, offset, dx, streamed):  # two rows, scalars, row, scalar
    """Write dx = dy * scale + offset + (x - high) * rstd * minus_dot."""
    w, n = lanes(x), x.size
    h, r, s = splat(x, -high), splat(x, rstd), splat(x, scale)
    d, o = splat(x, minus_dot), splat(x, offset)
    i = max(streamed, 0)
    if i > 0:
        store(dx, 0, _gradient_at(0, i, dy, x, h, r, s, d, o), i)
    while i + w <= n:
        write(dx, i, _gradient_at(i, w, dy, x, h, r, s, d, o), w, streamed)
        i += w
    if i < n:
        store(dx, i, _gradient_at(i, n - i, dy, x, h, r, s, d, o), n - i)


@leaf
def _sums_of_planes(dy, x, p, count, stride, mean, rstd, dgamma, dbeta):
    high, low = pair(x[p], mean)
    dgamma[p], dbeta[p] = planes_gradient_sums(dy, x, p, count, stride, high, rstd, -low * rstd)


@leaf(allocates=True)
def _add_samples(of_planes, of_channels):  # (P,) float64, (C,)
    """Add to each channel the sum over its planes, rounded once."""
    channels = of_channels.size
    totals = np.zeros(channels)
    for first in range(0, of_planes.size, channels):
        for c in range(channels):
            totals[c] += of_planes[first + c]
    for c in range(channels):
        of_channels[c] += totals[c]


@leaf
def _set_means(k, count, stride, inner, gamma, dgamma, dbeta):
    """Return mean(g) and mean(g * xhat) over the set, g = gamma * dy."""
    mean_g, mean_g_xhat = 0.0, 0.0
    for r in range(count):
        p = plane_of(k, r, count, stride)
        g = np.float64(gamma[p % gamma.size])
        mean_g += g * dbeta[p]
        mean_g_xhat += g * dgamma[p]
    n = count * inner
    return mean_g / n, mean_g_xhat / n


@leaf
def _gradient_of_plane(dy, x, p, mean, rstd, gamma, mean_g, mean_g_xhat, dx, streamed):
    high, low = pair(x[p], mean)
    offset = rstd * (low * rstd * mean_g_xhat - mean_g)
    scale = np.float64(gamma[p % gamma.size]) * rstd
    plane_gradient(dy[p], x[p], high, rstd, scale, -rstd * mean_g_xhat, offset, dx[p], streamed)


def _gradient(dy, x, count, stride, gamma, mean, rstd, dx, dgamma, dbeta):
    # two (P, I), scalars, (C,), two (sets,), (P, I) or None, two (C,)
    sets, planes, inner = mean.size, x.shape[0], x.shape[1]
    # dgamma and dbeta of each plane; where a set is a channel, the first of its planes has those of all
    dots, sums = np.zeros(planes), np.zeros(planes)
    streamed = -1
    if dx is not None:
        streamed = stream_from(dx, 3)
    if sets >= MANY:
        for k in prange(sets):
            together = count if stride > 1 else 1
            for r in range(0, count, together):
                p = plane_of(k, r, count, stride)
                _sums_of_planes(dy, x, p, together, stride, mean[k], rstd[k], dots, sums)
            if dx is not None:
                g, dot = _set_means(k, count, stride, inner, gamma, dots, sums)
                for r in range(count):
                    p = plane_of(k, r, count, stride)
                    _gradient_of_plane(dy, x, p, mean[k], rstd[k], gamma, g, dot, dx, streamed)
    else:
        for j in prange(planes):
            k = j // count
            _sums_of_planes(dy, x, plane_of(k, j % count, count, stride), 1, stride, mean[k], rstd[k], dots, sums)
        if dx is not None:
            means = np.empty((sets, 2))
            for k in range(sets):
                means[k, 0], means[k, 1] = _set_means(k, count, stride, inner, gamma, dots, sums)
            for j in prange(planes):
                k = j // count
                p = plane_of(k, j % count, count, stride)
                _gradient_of_plane(dy, x, p, mean[k], rstd[k], gamma, means[k, 0], means[k, 1], dx, streamed)
    _add_samples(dots, dgamma)
    _add_samples(sums, dbeta)


normalize = both(_normalize)
scale_and_shift = both(_scale_and_shift)
gradient = both(_gradient)
