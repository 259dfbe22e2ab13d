"""Gradients of the norms over columns, (V, S, C): see `normkit.kernels.cpu.columns`."""

import numpy as np
from numba import prange

from normkit._jit import leaf
from normkit.kernels.cpu.columns import PIECE, ROWS_PER_BLOCK, WIDE
from normkit.kernels.cpu.parallel import block_count, both, flush
from normkit.kernels.cpu.simd import lanes, load, muladd, store, stream_from, write


@leaf(inline=True, ordered=True)
def _gradient_sums_at(j, n, dy, x, i, high, rstd, low, dgamma, dbeta):
    h, r, z = load(high, j, n), load(rstd, j, n), load(low, j, n)
    g0, g1, g2, g3 = load(dy[i], j, n), load(dy[i + 1], j, n), load(dy[i + 2], j, n), load(dy[i + 3], j, n)
    store(dbeta, j, load(dbeta, j, n) + ((g0 + g1) + (g2 + g3)), n)
    s = muladd(g0, muladd(load(x[i], j, n) - h, r, z), load(dgamma, j, n))
    s = muladd(g1, muladd(load(x[i + 1], j, n) - h, r, z), s)
    s = muladd(g2, muladd(load(x[i + 2], j, n) - h, r, z), s)
    store(dgamma, j, muladd(g3, muladd(load(x[i + 3], j, n) - h, r, z), s), n)


@leaf(inline=True, ordered=True)
def _gradient_sum_at(j, n, dy, x, i, high, rstd, low, dgamma, dbeta):
    g = load(dy[i], j, n)
    xhat = muladd(load(x[i], j, n) - load(high, j, n), load(rstd, j, n), load(low, j, n))
    store(dbeta, j, load(dbeta, j, n) + g, n)
    store(dgamma, j, muladd(g, xhat, load(dgamma, j, n)), n)


@leaf
def column_gradient_sums(dy, x, start, stop, high, rstd, low, dgamma, dbeta):
    # two (S, C), scalars, five (C,)
    """Add sum(dy * xhat) and sum(dy) over rows start to stop, xhat = (x - high) * rstd + low."""
    w, n = lanes(x[0]), x.shape[1]
    i = start
    while i + 4 <= stop:
        j = 0
        while j + w <= n:
            _gradient_sums_at(j, w, dy, x, i, high, rstd, low, dgamma, dbeta)
            j += w
        if j < n:
            _gradient_sums_at(j, n - j, dy, x, i, high, rstd, low, dgamma, dbeta)
        i += 4
    while i < stop:
        j = 0
        while j + w <= n:
            _gradient_sum_at(j, w, dy, x, i, high, rstd, low, dgamma, dbeta)
            j += w
        if j < n:
            _gradient_sum_at(j, n - j, dy, x, i, high, rstd, low, dgamma, dbeta)
        i += 1


@leaf(inline=True, ordered=True)
def _gradient_at(j, n, dy, x, i, rows, high, rstd, scale, minus_dot, offset, dx, streamed):
    h, r, s = load(high, j, n), load(rstd, j, n), load(scale, j, n)
    dot, o = load(minus_dot, j, n), load(offset, j, n)
    for k in range(rows):
        d = (load(x[i + k], j, n) - h) * r
        write(dx[i + k], j, muladd(d, dot, muladd(load(dy[i + k], j, n), s, o)), n, streamed)


@leaf
def gradient_block(dy, x, start, stop, high, rstd, scale, minus_dot, offset, dx, streamed):
    # two (S, C), scalars, five (C,), (S, C), scalar
    """Write dx = dy * scale + offset + (x - high) * rstd * minus_dot on rows start to stop."""
    w, n = lanes(x[0]), x.shape[1]
    i = start
    while i < stop:
        rows = 2 if n >= WIDE and i + 2 <= stop else 1
        j = head = max(streamed, 0)
        if rows == 2:
            while j + w <= n:
                _gradient_at(j, w, dy, x, i, 2, high, rstd, scale, minus_dot, offset, dx, streamed)
                j += w
        else:
            while j + w <= n:
                _gradient_at(j, w, dy, x, i, 1, high, rstd, scale, minus_dot, offset, dx, streamed)
                j += w
        for at, part in ((0, head), (j, n - j)):  # before and after the whole vectors
            if part > 0:
                _gradient_at(at, part, dy, x, i, rows, high, rstd, scale, minus_dot, offset, dx, -1)
        i += rows


@leaf(allocates=True)
def _sum_block(dy, x, start, stop, high, rstd, low, dgamma, dbeta):  # two (S, C), scalars, five (C,)
    sums = np.zeros((2, high.size), high.dtype)
    for i in range(start, stop, PIECE):
        column_gradient_sums(dy, x, i, min(i + PIECE, stop), high, rstd, low, sums[0], sums[1])
        flush(sums[0], dgamma)
        flush(sums[1], dbeta)


@leaf
def _of_columns(of_groups, of_columns):  # (G,), (C,)
    """Write to each column what its group has."""
    width = of_columns.size // of_groups.size
    if width == 1:
        for j in range(of_columns.size):
            of_columns[j] = of_groups[j]
    else:
        for k in range(of_groups.size):
            of_columns[k * width : (k + 1) * width] = of_groups[k]


@leaf
def _mean_over_groups(groups, sums, weights, count, means):  # scalar, two (C,), scalar, (C,)
    """Write to each column the sum of weights * sums over the columns of its group, divided by count."""
    width, share = sums.size // groups, 1.0 / count
    if width == 1:
        for j in range(sums.size):
            means[j] = weights[j] * sums[j] * share
        return
    for k in range(groups):
        total = 0.0
        for j in range(k * width, (k + 1) * width):
            total += weights[j] * sums[j]
        means[k * width : (k + 1) * width] = total * share


@leaf
def _prepare(mean, rstd, high, t_rstd, low, columns_mean, columns_rstd):
    # two (G,), three (C,) in the type of the arithmetic, two (C,) float64
    """Write the statistics of each column, as `column_gradient_sums` takes them and in float64."""
    _of_columns(mean, columns_mean)
    _of_columns(rstd, columns_rstd)
    for j in range(high.size):
        high[j] = columns_mean[j]
    for j in range(high.size):
        t_rstd[j] = columns_rstd[j]
    for j in range(high.size):
        low[j] = (np.float64(high[j]) - columns_mean[j]) * columns_rstd[j]


@leaf
def _gradient_coefficients(rows, groups, gamma, mean, rstd, dgamma, dbeta, high, scale, minus_dot, offset, means):
    # two scalars, (C,), four (C,) float64, four (C,) in the type of the arithmetic, (2, C) float64
    """Write what `gradient_block` takes: dx = rstd * (g - mean(g) - xhat * mean(g * xhat)), g = gamma * dy."""
    count = np.float64(rows * (gamma.size // groups))
    mean_g, dot = means[0], means[1]
    _mean_over_groups(groups, dbeta, gamma, count, mean_g)
    _mean_over_groups(groups, dgamma, gamma, count, dot)
    for j in range(gamma.size):
        scale[j] = gamma[j] * rstd[j]
    for j in range(gamma.size):
        minus_dot[j] = -rstd[j] * dot[j]
    for j in range(gamma.size):
        offset[j] = rstd[j] * ((mean[j] - high[j]) * rstd[j] * dot[j] - mean_g[j])


@leaf
def _add_parts(part_dgamma, part_dbeta, dgamma, dbeta):  # two (V, C) float64, two (C,)
    """Add the sums of all parts to dgamma and dbeta, rounded once; the first of the parts is overwritten."""
    for v in range(1, part_dgamma.shape[0]):
        flush(part_dgamma[v], part_dgamma[0])
        flush(part_dbeta[v], part_dbeta[0])
    for j in range(dgamma.size):
        dgamma[j] += part_dgamma[0, j]
    for j in range(dbeta.size):
        dbeta[j] += part_dbeta[0, j]


def _gradient_many(dy, x, gamma, mean, rstd, dx, dgamma, dbeta):
    # two (V, S, C), (C,), two (V * G,), (V, S, C) or None, two (C,)
    parts, rows, columns = x.shape
    groups = mean.size // parts
    sums = np.zeros((2, parts, columns))
    streamed = -1
    if dx is not None:
        streamed = stream_from(dx[0], 3 * parts)
    for v in prange(parts):
        t, d = np.empty((6, columns), gamma.dtype), np.empty((4, columns))
        _prepare(mean[v * groups : (v + 1) * groups], rstd[v * groups : (v + 1) * groups], t[0], t[1], t[2], d[0], d[1])
        s, c = sums[0, v], sums[1, v]
        _sum_block(dy[v], x[v], 0, rows, t[0], t[1], t[2], s, c)
        if dx is not None:
            _gradient_coefficients(rows, groups, gamma, d[0], d[1], s, c, t[0], t[3], t[4], t[5], d[2:])
            gradient_block(dy[v], x[v], 0, rows, t[0], t[1], t[3], t[4], t[5], dx[v], streamed)
    _add_parts(sums[0], sums[1], dgamma, dbeta)


def _gradient(dy, x, gamma, mean, rstd, dx, dgamma, dbeta):
    # two (V, S, C), (C,), two (V * G,), (V, S, C) or None, two (C,)
    parts, rows, columns = x.shape
    groups = mean.size // parts
    blocks = block_count(rows, ROWS_PER_BLOCK)
    t, d = np.empty((6, columns), gamma.dtype), np.empty((4, columns))
    sums = np.zeros((2, parts, columns))
    for v in range(parts):
        _prepare(mean[v * groups : (v + 1) * groups], rstd[v * groups : (v + 1) * groups], t[0], t[1], t[2], d[0], d[1])
        part_dgamma, part_dbeta = np.zeros((blocks, columns)), np.zeros((blocks, columns))
        for b in prange(blocks):
            start, stop = b * rows // blocks, (b + 1) * rows // blocks
            _sum_block(dy[v], x[v], start, stop, t[0], t[1], t[2], part_dgamma[b], part_dbeta[b])
        s, c = sums[0, v], sums[1, v]
        for b in range(blocks):
            flush(part_dgamma[b], s)
            flush(part_dbeta[b], c)
        if dx is not None:
            _gradient_coefficients(rows, groups, gamma, d[0], d[1], s, c, t[0], t[3], t[4], t[5], d[2:])
            for b in prange(blocks):
                start, stop = b * rows // blocks, (b + 1) * rows // blocks
                gradient_block(dy[v], x[v], start, stop, t[0], t[1], t[3], t[4], t[5], dx[v], stream_from(dx[v], 3))
    _add_parts(sums[0], sums[1], dgamma, dbeta)


gradient = both(_gradient)
gradient_many = both(_gradient_many)
